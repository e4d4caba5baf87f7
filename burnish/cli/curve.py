"""`burnish curve`: what more rows would bring, in words and numbers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

Command = Callable[[str, str, str], argparse.ArgumentParser]


def arguments(command: Command) -> None:
    curve = command(
        "curve",
        "what would more rows bring: train on ever larger subsets and fit a law",
        "burnish curve tickets.csv --points 5",
    )
    curve.add_argument("source", metavar="RECIPE|DATA", help="recipe or data file; its test rows stay sealed")
    curve.add_argument("--test", metavar="FILE", help="test rows, which are not looked at")
    curve.add_argument(
        "--points", metavar="N", type=int, default=4, help="subsets, each twice the one before (default: 4)"
    )
    curve.add_argument(
        "--share", metavar="S", type=float, default=1.0, help="of the training rows in the largest subset (default: 1)"
    )
    curve.add_argument(
        "--method", metavar="M", help="what is trained (default: the recipe's, else head, which takes seconds)"
    )
    curve.add_argument(
        "--output", metavar="DIR", help="the curve's folder; a stopped curve goes on (default: under runs)"
    )
    curve.add_argument("--html", metavar="FILE", help="also draw the curve on a page")
    curve.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], help="change any field of the recipe; may be repeated"
    )


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.cli.show_curve import show_curve
    from burnish.lifecycle.curve import curve

    found = curve(
        options.source,
        test=options.test,
        overrides=options.set,
        points=options.points,
        share=options.share,
        method=options.method,
        output=options.output,
        progress=TerminalProgress(),
    )
    if options.html:
        from burnish.evaluation.report_curve import render_curve
        from burnish.storage.durable import write_text

        write_text(Path(options.html), render_curve(found))
    print(json.dumps(found, ensure_ascii=False) if options.json else show_curve(found))
    return 0
