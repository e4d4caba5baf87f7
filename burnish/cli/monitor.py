"""`burnish monitor`: are new rows still like those a model was judged on?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    monitor = command(
        "monitor", "compare new rows with those a run was judged on", "burnish monitor RUN --data today.jsonl"
    )
    monitor.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    monitor.add_argument("--data", metavar="F", required=True, help="file of new rows; labels are not needed")
    monitor.add_argument("--labels", action="store_true", help="the rows have labels: measure how good the answers are")
    monitor.add_argument(
        "--alpha", metavar="A", type=float, help="chance of a false alarm, 0.001 to 0.2 (default: the recipe's, 0.01)"
    )
    monitor.add_argument("--html", metavar="FILE", help="also write what was found as a page")


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.lifecycle.monitor import monitor

    found = monitor(options.run, options.data, labels=options.labels, alpha=options.alpha, progress=TerminalProgress())
    if options.html:
        from burnish.monitoring.page import render_monitor
        from burnish.storage.durable import write_text

        write_text(Path(options.html), render_monitor(found))
    print(json.dumps(found, ensure_ascii=False) if options.json else show_monitor(found))
    return 1 if found["answer"] == "drift" else 0


def show_monitor(found: Mapping[str, Any]) -> str:
    """The answer first, then what it rests on, then what to do."""
    from burnish.cli.show import coloured
    from burnish.evaluation import wording
    from burnish.monitoring.words import HEADLINES, what

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
    from burnish.evaluation import wording

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
