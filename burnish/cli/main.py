"""The commands, their arguments and their exit codes. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from burnish import __version__
from burnish.cli import backup, budget, compare, curve, export, gc, models, monitor, plan, sweep, verify
from burnish.errors import (
    BurnishError,
    DivergedError,
    GoalNotReachedError,
    InterruptedRunError,
    OutOfMemoryError,
    nearest,
)

DESCRIPTION = """\
Fine-tune a pretrained model on your own rows, and get a verdict: is it better than what
you could have had without fine-tuning, by how much, and how sure is that?"""
EPILOG = """\
start here:  burnish demo              then:  burnish train your.csv
exit codes:  0 ok, 1 the answer is no, 2 usage or unreadable input, 3 diverged or self-test failed,
             4 out of memory, 5 disk full, 6 damaged store, 75 temporary,
             130/143 stopped by a signal (checkpoint saved)"""


AGREED = (InterruptedRunError, DivergedError, OutOfMemoryError)  # ends that all processes of a training come to


class _Terminated(KeyboardInterrupt):
    """SIGTERM outside of the training loop, which finishes its step first."""


def _terminate(number: int, _: object) -> NoReturn:
    """One signal is enough: another one would end in the middle of what the first one set off."""
    _ignore_signals()
    raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _stopped(stop: KeyboardInterrupt) -> int:
    print("stopped", file=sys.stderr)
    return 143 if isinstance(stop, _Terminated) else 130


def entry() -> NoReturn:
    """Console script: runs a command and ends the process with its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as a shell has it for what runs in the background
            signal.signal(number, _terminate)
    try:
        code = main(sys.argv[1:])
        _ignore_signals()  # nothing is left to be stopped
    except KeyboardInterrupt as stop:  # between the end of the command and the line above
        code = _stopped(stop)
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Runs one command; gives its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        from burnish.cli import commands

        code = commands.COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except BurnishError as error:
        _show_error(error, options)
        return error.exit_code
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    except BrokenPipeError:  # the reader of our output went away; that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        traceback.print_exc()
        print(
            f"\nThis is a bug in burnish {__version__} ({type(error).__name__}), not in what you did."
            " Please report it with the lines above.",
            file=sys.stderr,
        )
        return 70


class _Parser(argparse.ArgumentParser):
    """argparse that says which word was probably meant."""

    def error(self, message: str) -> NoReturn:
        match = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        close = nearest(match.group(1), re.findall(r"[\w-]+", match.group(2))) if match else None
        super().error(f'{message}; did you mean "{close}"?' if close else message)


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="burnish",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"burnish {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, help_: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=help_,
            description=f"{help_[0].upper()}{help_[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
        sub.add_argument("--traceback", action="store_true", help="show where in the code an error was raised")
        return sub

    demo = command("demo", "the first run: shipped data, CPU, offline, ends in a verdict", "burnish demo")
    _output(demo)
    _training(demo)
    init = command("init", "look at the data and write a commented recipe", "burnish init tickets.csv")
    init.add_argument("data", metavar="DATA", help="CSV, TSV or JSONL file")
    init.add_argument("--output", metavar="FILE", default="recipe.yaml", help="recipe to write (default: recipe.yaml)")
    check = command("check", "look for problems in the data, with file and line", "burnish check tickets.csv")
    check.add_argument("source", metavar="DATA|RECIPE", help="data file or recipe")
    check.add_argument("--test", metavar="FILE", help="test rows, checked for leaks against the others")
    check.add_argument("--task", metavar="T", help="what is to be learned (default: inferred)")
    check.add_argument("--like", metavar="FILE", help="real inputs: what do they have that the data lacks?")
    check.add_argument(
        "--group", metavar="COLUMN", action="append", default=[], help="compare the groups of a column; may be repeated"
    )
    check.add_argument(
        "--deep", action="store_true", help="also look for wrong labels, same meanings and topics, with the base"
    )
    check.add_argument("--base", metavar="BASE", help="look deep with this base, and at what is too long for it")
    check.add_argument(
        "--moderator", metavar="RUN|URL", help="ask a classifier of yours, or an endpoint, which texts are unsafe"
    )
    check.add_argument(
        "--unsafe-label",
        metavar="LABEL",
        action="append",
        default=[],
        help="label of the --moderator RUN that means unsafe; may be repeated",
    )
    check.add_argument(
        "--show-mask", metavar="N", type=_count, default=0, help="show N conversations with what is learned of them"
    )
    check.add_argument("--html", metavar="FILE", help="also write the findings as a page")
    _set(check)
    train = command("train", "train on a data file or a recipe, and judge the result", "burnish train tickets.csv")
    train.add_argument("source", metavar="RECIPE|DATA", help="recipe (.yaml) or data file (CSV, TSV, JSONL)")
    train.add_argument("--test", metavar="FILE", help="test rows; 10 %% of the training rows then validate")
    train.add_argument("--resume", action="store_true", help="go on in --output, or start when there is nothing")
    _output(train)
    _training(train)
    budget.arguments(train)
    resume = command("resume", "go on with a run that was stopped", "burnish resume runs/tickets-20260101-120000-ab12")
    resume.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    resume.add_argument(
        "--set",
        metavar="a.b=c",
        action="append",
        default=[],
        help="start a child run from the newest checkpoint with this change; may be repeated",
    )
    resume.add_argument("--output", metavar="DIR", help="with --set: the child's folder (default: beside the run)")
    budget.arguments(resume)
    _require(resume)
    pause = command("pause", "stop a run after its current step, with a checkpoint", "burnish pause RUN")
    pause.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    cancel = command("cancel", "give a run up; its last checkpoint stays", "burnish cancel RUN")
    cancel.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    evaluate = command("evaluate", "judge a run again, or on other rows", "burnish evaluate RUN --data new.csv")
    evaluate.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    evaluate.add_argument("--data", metavar="F", help="labelled rows to judge on instead of the run's own test rows")
    _judge(evaluate)
    _require(evaluate)
    compare.arguments(command)
    predict = command("predict", "use a model on rows or text", 'burnish predict RUN --text "where is my card?"')
    predict.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    predict.add_argument(
        "--min-confidence",
        metavar="P",
        type=_share,
        help='mark rows whose label has a lower probability as "unsure"; the label is kept as guess',
    )
    predict.add_argument(
        "--explain", action="store_true", help="say what each word adds to the label's probability (extra `explain`)"
    )
    group = predict.add_mutually_exclusive_group()
    group.add_argument("--text", metavar="TEXT", action="append", help="a text; may be given several times")
    group.add_argument("--data", metavar="F", help="file of rows; without --text and --data, one text a line on stdin")
    plan.arguments(command)
    curve.arguments(command)
    sweep.arguments(command)
    _chat(command)
    runs = command("runs", "list the runs, or show one", "burnish runs")
    runs.add_argument("run", metavar="RUN", nargs="?", help="show this one")
    _audit(command)
    _augment(command)
    _data_versions(command)
    models.arguments(command)
    export.arguments(command)
    monitor.arguments(command)
    backup.arguments(command)
    verify.arguments(command)
    gc.arguments(command)
    return parser


def _chat(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    chat = command("chat", "talk to a tuned language model", "burnish chat RUN --base")
    chat.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    chat.add_argument("--base", action="store_true", help="let the base answer beside it")
    chat.add_argument("--text", metavar="TEXT", help="say this and leave (default: lines of stdin, until an empty one)")
    chat.add_argument("--system", metavar="TEXT", help="what the system says first (default: nothing)")
    chat.add_argument(
        "--max-new-tokens", metavar="N", type=_count, default=256, help="after which an answer is cut (default: 256)"
    )
    chat.add_argument(
        "--temperature", metavar="T", type=_temperature, default=0.0, help="0: the likeliest words (default)"
    )
    chat.add_argument("--seed", metavar="N", type=_count, help="of the draws, with --temperature")


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"not a number from 0 to 10: {text!r}")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"not a share from 0 to 1: {text!r}")
    return value


def _judge(evaluate: argparse.ArgumentParser) -> None:
    group = evaluate.add_argument_group(
        "answers of a chat run, compared in pairs",
        "Which answer is better, the tuned model's or the arm's? Asked blind; the choices are\n"
        "kept in the run's folder.",
    )
    group.add_argument(
        "--judge",
        metavar="URL|people",
        help="ask a model in both orders (OpenAI-compatible, up to /v1; prompts and answers are sent there), or people "
        "in this terminal",
    )
    group.add_argument("--judge-model", metavar="NAME", help="with a URL: the model, as the endpoint calls it")
    group.add_argument(
        "--key-from",
        metavar="VARIABLE",
        help="with a URL: environment variable with the key (default: OPENAI_API_KEY); without it no key is sent",
    )
    group.add_argument("--rubric", metavar="FILE", help="with a URL: what makes an answer better (default: ours)")
    group.add_argument("--annotator", metavar="NAME", help="with people: who answers (default: me)")
    group.add_argument("--against", metavar="ARM", help="the arm to compare with (default: the strongest)")


def _audit(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    audit = command("audit", "look at labels, one key each, and learn how many are wrong", "burnish audit tickets.csv")
    audit.add_argument("source", metavar="DATA|RECIPE", help="data file or recipe")
    audit.add_argument("--annotator", metavar="NAME", default="me", help="who answers (default: me)")
    audit.add_argument("--file", metavar="FILE", help="where answers are kept (default: one per DATA in BURNISH_HOME)")
    _set(audit)
    what = audit.add_mutually_exclusive_group()
    what.add_argument("--summary", action="store_true", help="ask nothing, say what the answers so far mean")
    what.add_argument("--apply", action="store_true", help="write the corrections for `data.clean.relabel`")
    audit.add_argument(
        "--output", metavar="FILE", default="corrections.jsonl", help="with --apply (default: corrections.jsonl)"
    )


def _augment(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    augment = command(
        "augment",
        "paraphrase training rows, or ask questions about documents, through an endpoint you name",
        "burnish augment tickets.csv --endpoint http://localhost:8000/v1 --model NAME",
    )
    augment.add_argument("source", metavar="DATA|RECIPE", help="data file or recipe; only its training rows are sent")
    augment.add_argument("--endpoint", metavar="URL", required=True, help="OpenAI-compatible, up to /v1")
    augment.add_argument("--model", metavar="NAME", required=True, help="as the endpoint calls it")
    augment.add_argument(
        "--key-from",
        metavar="VARIABLE",
        default="OPENAI_API_KEY",
        help="environment variable with the key (default: OPENAI_API_KEY); without it no key is sent",
    )
    augment.add_argument(
        "--copies",
        metavar="N",
        type=_count,
        default=2,
        help="versions of a row, or questions about a section (default: 2)",
    )
    augment.add_argument("--rows", metavar="N", type=_count, default=200, help="rows to send at most (default: 200)")
    augment.add_argument(
        "--output", metavar="FILE", default="paraphrases.jsonl", help="new file (default: paraphrases.jsonl)"
    )
    _set(augment)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a number of 1 or more: {text!r}")
    return int(text)


def _data_versions(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    datasets = command("datasets", "list, show, compare and export data versions", "burnish datasets list")
    actions = datasets.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="all versions, newest first")
    show = actions.add_parser("show", help="where a version comes from, what it holds, who learned from it")
    diff = actions.add_parser("diff", help="rows that came, went, or changed their label")
    export = actions.add_parser("export", help="the rows as JSON Lines, on stdout or in a new file")
    for parser, names in ((listed, ()), (show, ("version",)), (diff, ("version", "other")), (export, ("version",))):
        for name in names:
            parser.add_argument(name, metavar="VERSION", help="id of a data version, or its unique beginning")
        parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON object on stdout")
    export.add_argument("--output", metavar="FILE", help="a new file (default: stdout)")
    forget = command(
        "forget", "remove a person's rows from every data version", "burnish forget --where user_id=4711 --yes"
    )
    forget.add_argument("--where", metavar="COLUMN=VALUE", required=True, help="which rows; the value as text")
    forget.add_argument("--yes", action="store_true", help="do it; without this they are only counted")


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="DIR", help="the run's folder (default: a new one under ./runs)")


def _set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], help="change any field of the recipe; may be repeated"
    )


def _training(parser: argparse.ArgumentParser) -> None:
    _set(parser)
    parser.add_argument("--seed", metavar="N", type=int, help="of every random choice (default: the recipe's, 13)")
    _require(parser)


def _require(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--require",
        choices=("better", "goals", "gates"),
        help="exit with 1 unless the verdict is better, every goal of the recipe is reached, or every gate is passed",
    )


def _show_error(error: BurnishError, options: argparse.Namespace) -> None:
    if options.traceback:
        traceback.print_exc()
    from burnish.lifecycle.follow import follows

    if follows():  # the first of several processes speaks for all
        if not isinstance(error, AGREED):
            print(f"process {os.environ['RANK']}: {error}", file=sys.stderr)
        return
    if options.json and not isinstance(error, GoalNotReachedError):  # that one follows a result on stdout
        shown: dict[str, Any] = {"error": error.as_dict(), "exit_code": error.exit_code}
        print(json.dumps(shown, ensure_ascii=False))
    print(str(error), file=sys.stderr)
