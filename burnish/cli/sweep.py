"""`burnish sweep`: the search for better values of a recipe's fields, in words and numbers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Command = Callable[[str, str, str], argparse.ArgumentParser]
SHOWN = 5  # trials in the terminal


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


def show_sweep(found: Mapping[str, Any]) -> str:
    """The best values first, then the trials behind them, what mattered, and the verdict on the winner."""
    from burnish.cli.show import show_verdict
    from burnish.evaluation import wording

    metric, best, first = found["metric"], found["best"], found["first"]
    lines = ["", f"SWEEP  best of {len(found['trials'])} trials: {wording.metric_title(metric)} {_value(best, metric)}"]
    lines[-1] += f" on the validation rows, {_value(first, metric)} as the recipe is"
    lines += ["", *(f"  {field}: {_short(value)}" for field, value in best["values"].items()), ""]
    sign = -1.0 if found["higher_is_better"] else 1.0
    whole = sorted((row for row in found["trials"] if row["state"] == "complete"), key=lambda row: sign * row["value"])
    for row in whole[:SHOWN]:
        values = ", ".join(f"{field.rpartition('.')[2]} {_short(value)}" for field, value in row["values"].items())
        lines.append(f"  trial {row['trial']:>3}  {_value(row, metric):>8}  {row['seconds']:>6.0f} s  {values}")
    saved = found["saved"]
    if saved["trials"]:
        share = saved["seconds"] / saved["of_seconds"]
        lines.append(f"  {saved['trials']} trials were given up early, which saved about {share:.0%} of the time")
    if found["importance"]:
        shares = ", ".join(f"{field} {share:.0%}" for field, share in found["importance"].items())
        lines.append(f"  what mattered: {shares}")
    evaluation = json.loads((Path(found["run"]) / "evaluation.json").read_text(encoding="utf-8"))
    lines += [show_verdict(evaluation), "", f"recipe  {found['folder']}/best.yaml", f"run     {found['run']}"]
    return "\n".join(lines)


def _value(row: Mapping[str, Any], metric: str) -> str:
    from burnish.evaluation import wording

    if row["value"] is None:
        return str(row["state"])
    return f"{100 * row['value']:.1f} %" if wording.is_share(metric) else f"{row['value']:.4g}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
