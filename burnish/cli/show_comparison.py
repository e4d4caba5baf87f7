"""A comparison of two models as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.cli.show import COLOURS, coloured
from burnish.evaluation import wording
from burnish.evaluation.wording import visible

SHOWN = 4  # rows that the two answer differently
CUT = 100  # characters of a text or an answer


def show_comparison(found: Mapping[str, Any]) -> str:
    """The answer first, then both models by every metric, rows won, seeds, and rows that differ."""
    metric, d = str(found["metric"]), found["difference"]
    a, b = visible(found["a"]), visible(found["b"])
    answer = str(found["answer"])
    lines = [
        "",
        f"{coloured(found['sentence'], COLOURS.get(answer, '0'))}",
        f"  {metric}: {wording.signed(metric, d['difference'])} [{wording.signed_interval(d)}], n = {found['n']:,}, "
        f"{wording.name_of_test(d)} {wording.p_value(d['p_value'])}; "
        f"rows won {found['wins']['a']:,} : {found['wins']['b']:,}",
        "",
        *_models(found, {"a": a, "b": b}),
    ]
    for entry in found["comparisons"]:
        name = entry["metric"]
        lines.append(
            f"  {name}: {wording.signed(name, entry['difference'])} [{wording.signed_interval(entry)}], "
            f"{wording.p_value(entry['p_holm'])} corrected for several metrics"
        )
    for side, name in (("a", a), ("b", b)):
        if found["seeds"][side]:
            lines.append(f"  {name}: {wording.over_seeds(found['seeds'][side])}")
        if found["seconds"][side] is not None:
            lines.append(f"  {name} answered in {wording.duration(found['seconds'][side])}")
    if found["left_out"]:
        lines.append(f"  {wording.count(found['left_out'], 'rows')} that only one of them answered are left out")
    lines += _rows(found)
    if "choices" in found:
        lines += _choices(found["choices"], a, b)
    return "\n".join(lines)


def _models(found: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    width = max(map(len, names.values()))
    metrics = list(found["models"]["a"])[:3]
    return [
        f"  {name:<{width}}  "
        + "   ".join(
            f"{wording.metric_title(m)} {wording.figure(m, found['models'][side][m]['value'])} "
            f"[{wording.interval(m, found['models'][side][m])}]"
            for m in metrics
        )
        for side, name in names.items()
    ]


def _rows(found: Mapping[str, Any]) -> list[str]:
    if not found["rows"]:
        return ["", "  they answer every row alike"]
    lines = ["", "  rows they answer differently:"]
    for row in found["rows"][:SHOWN]:
        better = f", {row['better'].upper()} is better" if row["better"] else ""
        lines.append(f"  {visible(Path(str(row['file'])).name)}:{row['line']}{better}")
        for name, value in (("", row["text"]), ("wanted: ", row["label"]), ("A: ", row["a"]), ("B: ", row["b"])):
            lines.append(f"    {name}{visible(value, CUT)}")
    return lines


def _choices(choices: Mapping[str, Any], a: str, b: str) -> list[str]:
    """What was chosen blind, and how likely so uneven a choice is between equals."""
    if not choices["n"]:
        return ["", "  nothing was chosen"]
    answer = str(choices["verdict"]["answer"])
    head = f"CHOSEN BLIND, {a} against {b}: {coloured(answer.upper(), COLOURS.get(answer, '0'))}"
    told = [line for text in wording.choices(choices, choices["prompts"]) for line in textwrap.wrap(text, 100)]
    return ["", head, *(f"  {line}" for line in told)]
