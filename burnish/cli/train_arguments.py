"""The arguments of the commands that start, stop and go on with a run."""

from __future__ import annotations

from burnish.cli import budget
from burnish.cli.fields import Command, add_output, add_require, add_training


def demo(command: Command) -> None:
    parser = command("demo", "the first run: shipped data, CPU, offline, ends in a verdict", "burnish demo")
    add_output(parser)
    add_training(parser)


def train(command: Command) -> None:
    parser = command("train", "train on a data file or a recipe, and judge the result", "burnish train tickets.csv")
    parser.add_argument("source", metavar="RECIPE|DATA", help="recipe (.yaml) or data file (CSV, TSV, JSONL)")
    parser.add_argument("--test", metavar="FILE", help="test rows; 10 %% of the training rows then validate")
    parser.add_argument("--resume", action="store_true", help="go on in --output, or start when there is nothing")
    add_output(parser)
    add_training(parser)
    budget.arguments(parser)


def resume(command: Command) -> None:
    parser = command("resume", "go on with a run that was stopped", "burnish resume runs/tickets-20260101-120000-ab12")
    parser.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    parser.add_argument(
        "--set",
        metavar="a.b=c",
        action="append",
        default=[],
        help="start a child run from the newest checkpoint with this change; may be repeated",
    )
    parser.add_argument("--output", metavar="DIR", help="with --set: the child's folder (default: beside the run)")
    budget.arguments(parser)
    add_require(parser)


def stop(command: Command) -> None:
    pause = command("pause", "stop a run after its current step, with a checkpoint", "burnish pause RUN")
    pause.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    cancel = command("cancel", "give a run up; its last checkpoint stays", "burnish cancel RUN")
    cancel.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
