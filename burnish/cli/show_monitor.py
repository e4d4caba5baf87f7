"""What became of new rows, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.cli.show import coloured
from burnish.evaluation import wording
from burnish.monitoring.words import HEADLINES, what


def show_monitor(found: Mapping[str, Any]) -> str:
    """The answer first, then what it rests on, then what to do."""
    colour = {"drift": "31", "no drift seen": "32"}.get(found["answer"], "33")
    lines = [
        coloured(found["answer"].upper(), colour),
        f"  {HEADLINES[found['answer']]}",
        f"  {found['compared']:,} of {wording.count(found['rows'], 'new rows')} against {found['reference_rows']:,} "
        f"test rows; a false alarm has a chance of {found['alpha']:g}",
        "",
    ]
    for test in found["tests"]:
        mark = "changed" if test["alarm"] else "as before"
        together = wording.p_value(test["adjusted"]).replace(wording.TIED, " ")
        lines.append(f"  {wording.visible(what(test['of']), 40):<28} {mark:<10} {together}")
    lines += [f"  {line}" for line in quality_lines(found["quality"])]
    if found["new"]:
        new = found["new"]
        lines += ["", f"  {new['count']:,} rows look new ({new['by_chance']:g} would by chance), the newest first:"]
        lines += [f"  {row['file']}:{row['line']}: {wording.visible(row['excerpt'])}" for row in new["rows"]]
    lines += ["", f"  {found['power']}.", f"  → {found['advice']}"]
    return "\n".join(lines)


def quality_lines(quality: Mapping[str, Any] | None) -> list[str]:
    """What is known of the answers' quality, measured or to be expected."""
    if not quality:
        return []
    metric, before = wording.metric_title(quality["metric"]), wording.figure(quality["metric"], quality["before"])
    if quality["measured"]:
        after = wording.figure(quality["metric"], quality["after"])
        worse = f"{abs(quality['share']):.1%} {'worse' if quality['share'] > 0 else 'better'}"
        return [
            f"{metric} {before} on the test rows, {after} on the new ones: {worse} "
            f"(95 % interval {quality['low']:+.1%} to {quality['high']:+.1%} worse; the rule is {quality['rule']:.0%})"
        ]
    after, span = wording.figure(quality["metric"], quality["value"]), wording.interval(quality["metric"], quality)
    return [
        f"{metric} {before} on the test rows; on the new ones about {after} is to be expected ({span}), if answers "
        "of the same confidence are right as often as they were"
    ]
