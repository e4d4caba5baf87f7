"""A plan as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from burnish.evaluation import wording

_WIDTH = 96


def show_plan(found: Mapping[str, Any]) -> str:
    """The answer first, its reasons, then every arm with its interval, the defaults and what they rest on."""
    metric, cost = found["metric"], found["cost"]
    lines = ["", f"PLAN  {found['answer'].upper()}{_named(found)} ({found['sure']})", ""]
    for reason in found["reasons"]:
        lines += textwrap.wrap(reason, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
    rows = found["data"]["rows"]
    judged = sum(found["data"]["measured_on"]["judged"])
    lines += [
        "",
        f"  {rows['train']:,} training, {rows['validation']:,} validation rows; {rows['test']:,} test rows stay sealed",
        f"  {'on ' + format(judged, ',') + ' other rows':<26}{wording.metric_title(metric)}",
    ]
    shown = {"rehearsal": found["rehearsal"], **found["arms"]}
    best_last = sorted(shown.items(), key=lambda item: _sign(metric) * float(item[1]["value"]))
    lines += [f"  {name:<26}{_value(value, metric)}" for name, value in best_last]
    lines += ["", "  field                       value           why; source"]
    for choice in found["choices"]:
        why = "; ".join(part for part in (choice["why"], choice["source"]) if part)
        lines += textwrap.wrap(
            f"{choice['field']:<28}{choice['value']!s:<16}{why}",
            _WIDTH,
            initial_indent="  ",
            subsequent_indent=" " * 46,
        )
    license_ = found["base"]["license"]
    lines += [
        "",
        f"  the training takes about {_duration(cost['training_seconds'])} and "
        f"{cost['peak_memory_bytes'] / 1e9:.1f} GB, by {cost['by']}",
        *([f"  foreseen without it: {cost['forecast']['said']}"] if cost["forecast"] else []),
        f"  license of {found['base']['name']}: {license_['title'] or license_['name'] or 'unknown'}",
        *([f"  {license_['note']}"] if license_["note"] else []),
        f"  next: {found['next']}",
    ]
    return "\n".join(line.rstrip() for line in lines)


def _named(found: Mapping[str, Any]) -> str:
    return f": {found['use']}" if found["use"] else ""


def _sign(metric: str) -> float:
    return -1.0 if metric in wording.ERRORS else 1.0


def _value(value: Mapping[str, Any], metric: str) -> str:
    scale, unit = (100.0, " %") if wording.is_share(metric) else (1.0, "")
    shown = f"{scale * value['value']:.1f}{unit}" if unit else f"{value['value']:.3g}"
    if value["low"] is None or value["high"] is None:
        return shown
    return f"{shown:<10}[{scale * value['low']:.3g}, {scale * value['high']:.3g}]  n = {value['n']:,}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
