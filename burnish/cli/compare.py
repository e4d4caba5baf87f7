"""`burnish compare`: two models on the same rows, by numbers or by people who choose blind."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import UsageError

if TYPE_CHECKING:
    from burnish.evaluation.pairwise import Said
    from burnish.lifecycle.pairs import Pair


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    parser = command("compare", "two models on the same rows, with an interval", "burnish compare RUN RUN")
    sides = "RUN, RUN@step-N, RUN@ARM, or URL of an OpenAI-compatible endpoint (up to /v1; the prompts are sent there)"
    parser.add_argument("a", metavar="A", help=sides)
    parser.add_argument("b", metavar="B", help="the same")
    parser.add_argument(
        "--data", metavar="F", help="labelled rows (default: the sealed test rows, where both were judged on the same)"
    )
    parser.add_argument("--model", metavar="NAME", help="with a URL: the model, as the endpoint calls it")
    parser.add_argument(
        "--key-from",
        metavar="VARIABLE",
        help="with a URL: environment variable with the key (default: OPENAI_API_KEY); without it no key is sent",
    )
    parser.add_argument("--blind", action="store_true", help="choose between their answers, not knowing whose they are")
    parser.add_argument("--html", metavar="FILE", help="also write the comparison as a page")


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.cli.show_comparison import show_comparison
    from burnish.lifecycle.compare import open_comparison
    from burnish.lifecycle.endpoints import KEY

    _require(options)
    opened = open_comparison(
        options.a,
        options.b,
        data=options.data,
        model=options.model,
        key_variable=options.key_from or KEY,
        progress=TerminalProgress(),
    )
    found = opened.found()
    if options.blind:
        found["choices"] = _chosen_blind(opened.pairs())
    if options.html:
        from burnish.evaluation.report_compare import render_comparison
        from burnish.storage.durable import write_text

        write_text(Path(options.html), render_comparison(found))
    print(json.dumps(found, ensure_ascii=False) if options.json else show_comparison(found))
    return 0


def _require(options: argparse.Namespace) -> None:
    """Raises UsageError [compare/no-endpoint] for options of an endpoint without one."""
    given = [name for name in ("model", "key_from") if getattr(options, name) is not None]
    if given and not any(side.startswith(("http://", "https://")) for side in (options.a, options.b)):
        raise UsageError(
            "compare/no-endpoint",
            "this is for an endpoint, and both are runs",
            where=f"--{given[0].replace('_', '-')}",
            hint="leave it out, or name a URL",
        )


def _chosen_blind(pairs: Sequence[Pair]) -> dict[str, Any]:
    """What somebody says in this terminal of A's and B's answers; nothing of it is kept."""
    from burnish.cli.judge import ask_pairs
    from burnish.evaluation.pairwise import Choice, judge_choices

    choices: list[Choice] = []

    def keep(pair: Pair, a_first: bool, said: Said) -> None:
        choices.append(Choice(pair.prompt, "me", True, a_first, said))

    ask_pairs(pairs, judge="me", keep=keep)
    lengths = {pair.prompt: (len(pair.tuned), len(pair.other)) for pair in pairs}
    judged = judge_choices(choices, lengths, "B")["judges"]
    return {"prompts": len(pairs), **(judged[0] if judged else {"n": 0})}
