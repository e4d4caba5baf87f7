"""`burnish sweep`: the search for better values of a recipe's fields, in words and numbers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

Command = Callable[[str, str, str], argparse.ArgumentParser]


def arguments(command: Command) -> None:
    sweep = command(
        "sweep",
        "search for better hyperparameters on the validation rows, and judge the best once",
        "burnish sweep recipe.yaml --trials 20 --over training.learning_rate=1e-5..1e-3",
    )
    sweep.add_argument("source", metavar="RECIPE|DATA", help="recipe or data file; its test rows stay sealed")
    sweep.add_argument("--test", metavar="FILE", help="test rows, for the verdict on the winner")
    sweep.add_argument(
        "--over",
        metavar="a.b=RANGE",
        action="append",
        default=[],
        help="what is searched, LOW..HIGH or A,B,C; may be repeated (default: learning rate, batch size, LoRA rank)",
    )
    sweep.add_argument(
        "--trials", metavar="N", type=int, default=20, help="trainings, those given up early included (default: 20)"
    )
    sweep.add_argument(
        "--output",
        metavar="DIR",
        help="the sweep's folder (default: under runs); a stopped sweep goes on, several processes share it",
    )
    sweep.add_argument("--html", metavar="FILE", help="also write what came out as a page")
    sweep.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], help="change any field of the recipe; may be repeated"
    )


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.cli.show_sweep import show_sweep
    from burnish.lifecycle.sweep import sweep

    found = sweep(
        options.source,
        test=options.test,
        overrides=options.set,
        over=options.over,
        trials=options.trials,
        output=options.output,
        progress=TerminalProgress(),
    )
    if options.html:
        from burnish.evaluation.report_sweep import render_sweep
        from burnish.storage.durable import write_text

        write_text(Path(options.html), render_sweep(found))
    print(json.dumps(found, ensure_ascii=False) if options.json else show_sweep(found))
    return 0
