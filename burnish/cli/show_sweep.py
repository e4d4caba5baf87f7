"""A sweep as text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.cli.show import show_verdict
from burnish.evaluation import wording

SHOWN = 5  # trials in the terminal


def show_sweep(found: Mapping[str, Any]) -> str:
    """The best values first, then the trials behind them, what mattered, and the verdict on the winner."""
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
    if row["value"] is None:
        return str(row["state"])
    return f"{100 * row['value']:.1f} %" if wording.is_share(metric) else f"{row['value']:.4g}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
