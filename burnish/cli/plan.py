"""`burnish plan`: what to do with a data set, in words and numbers."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Command = Callable[[str, str, str], argparse.ArgumentParser]
_WIDTH = 96


def arguments(command: Command) -> None:
    plan = command(
        "plan",
        "fine-tune, prompt, use a classic baseline or get more data: measured in about a minute",
        "burnish plan tickets.csv",
    )
    plan.add_argument("source", metavar="DATA|RECIPE", help="data file or recipe; its test rows stay sealed")
    plan.add_argument("--test", metavar="FILE", help="test rows, which are not looked at")
    plan.add_argument("--output", metavar="FILE", help="write the recipe with every default filled in")
    plan.add_argument("--html", metavar="FILE", help="also write the plan as a page")
    plan.add_argument(
        "--from-scratch", action="store_true", help="also try a model of the base's shape with random weights"
    )
    asked = plan.add_argument_group(
        "an endpoint as a further arm",
        "It is asked about at most 50 validation rows, with training rows as examples: these rows\n"
        "are sent there, no others, and nowhere else.",
    )
    asked.add_argument("--endpoint", metavar="URL", help="OpenAI-compatible, up to /v1")
    asked.add_argument("--model", metavar="NAME", default="", help="as the endpoint calls it")
    asked.add_argument(
        "--key-from",
        metavar="VARIABLE",
        default="OPENAI_API_KEY",
        help="environment variable with the key (default: OPENAI_API_KEY); without it no key is sent",
    )
    plan.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], help="change any field of the recipe; may be repeated"
    )


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.lifecycle.advise import plan

    found = plan(
        options.source,
        test=options.test,
        overrides=options.set,
        output=options.output,
        endpoint=options.endpoint,
        endpoint_model=options.model,
        key_variable=options.key_from,
        from_scratch=options.from_scratch,
        progress=TerminalProgress(),
    )
    if options.html:
        from burnish.evaluation.report_plan import render_plan
        from burnish.storage.durable import write_text

        write_text(Path(options.html), render_plan(found))
    print(json.dumps(found, ensure_ascii=False, default=str) if options.json else show_plan(found))
    return 0


def show_plan(found: Mapping[str, Any]) -> str:
    """The answer first, its reasons, then every arm with its interval, the defaults and what they rest on."""
    from burnish.evaluation import wording

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
    from burnish.evaluation import wording

    return -1.0 if metric in wording.ERRORS else 1.0


def _value(value: Mapping[str, Any], metric: str) -> str:
    from burnish.evaluation import wording

    scale, unit = (100.0, " %") if wording.is_share(metric) else (1.0, "")
    shown = f"{scale * value['value']:.1f}{unit}" if unit else f"{value['value']:.3g}"
    if value["low"] is None or value["high"] is None:
        return shown
    return f"{shown:<10}[{scale * value['low']:.3g}, {scale * value['high']:.3g}]  n = {value['n']:,}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
