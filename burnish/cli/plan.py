"""`burnish plan`: what to do with a data set, in words and numbers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

Command = Callable[[str, str, str], argparse.ArgumentParser]


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
    from burnish.cli.show_plan import show_plan
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
