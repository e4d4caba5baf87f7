"""`burnish evaluate --judge`: two answers to one prompt, and which of them is better."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.cli.keyboard import read_key, say
from burnish.cli.progress import TerminalProgress
from burnish.cli.show import COLOURS, coloured, shown_lines
from burnish.errors import GoalNotReachedError, UsageError
from burnish.evaluation import wording
from burnish.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from burnish.evaluation.pairwise import Said
    from burnish.lifecycle.judge_pairs import Blind
    from burnish.lifecycle.pairs import Pair

    Keep = Callable[[Pair, bool, Said], None]

PEOPLE = "people"
_OF_MODELS, _OF_PEOPLE = ("judge_model", "key_from", "rubric"), ("annotator",)
_TEXT = 6_000  # characters of a text that are shown
_KEYS = "1 the first is better   2 the second   t tie   s skip   q quit"
_SAID: Mapping[str, Said] = {"1": "first", "2": "second", "t": "tie"}


def require_judge(options: argparse.Namespace) -> None:
    """Raises UsageError for options of `burnish evaluate` that do not go together."""
    people = options.judge == PEOPLE
    unfit = _OF_MODELS if people else _OF_PEOPLE if options.judge else (*_OF_MODELS, *_OF_PEOPLE, "against")
    given = [name for name in unfit if getattr(options, name) is not None]
    if given:
        raise UsageError(
            "cli/judge-options",
            "this is for a judge behind a URL" if given[0] in _OF_MODELS else "this is for people who choose",
            where=f"--{given[0].replace('_', '-')}",
            hint=f"name one: --judge {'http://localhost:8000/v1' if given[0] in _OF_MODELS else PEOPLE}",
        )
    if options.judge and not people and not options.judge_model:
        raise UsageError("cli/judge-model", "which model judges?", where="--judge", hint="name it: --judge-model NAME")
    if options.judge and options.data:
        raise UsageError(
            "cli/judge-data",
            "choices are between answers to the run's own test prompts",
            where="--data",
            hint="leave --data out, or --judge",
        )
    if options.judge and options.require in ("goals", "gates"):
        raise UsageError(
            "cli/judge-goals",
            f"choices say nothing about {options.require}",
            where=f"--require {options.require}",
            hint="write --require better",
        )


def judge(folder: RunFolder, options: argparse.Namespace) -> int:
    from burnish.lifecycle.endpoints import KEY
    from burnish.lifecycle.judge_pairs import ask_endpoint, open_blind
    from burnish.lifecycle.pairs import publish_pairs

    if options.judge == PEOPLE:
        queue = open_blind(folder, annotator=options.annotator or "me", against=options.against)
        _ask_all(queue)
        judging, name = queue.judging, PEOPLE
    else:
        judging = ask_endpoint(
            folder,
            url=options.judge,
            model=options.judge_model,
            key_variable=options.key_from or KEY,
            rubric=Path(options.rubric) if options.rubric else None,
            against=options.against,
            progress=TerminalProgress(),
        )
        name = judging.judge
    found = publish_pairs(folder, judging.against)
    print(json.dumps(found, ensure_ascii=False) if options.json else show_choices(found))
    if options.require:
        _require(found, name)
    return 0


def _ask_all(queue: Blind) -> None:
    """Pair after pair until the queue is empty or somebody quits; every answer is kept at once."""

    def keep(pair: Pair, tuned_first: bool, said: Said) -> None:
        queue.judging.keep([(pair, tuned_first, said)])

    _ask(queue.pairs(), queue.answered, queue.total, keep)


def ask_pairs(pairs: Sequence[Pair], *, judge: str, keep: Keep) -> None:
    """Asks about pairs in a random order of the two answers, which is the same each time; identical ones are ties.

    Args:
        judge: who is asked.
        keep: is told the pair, whether its first answer was shown first, and what was said.
    """
    from burnish.lifecycle.judge_pairs import shown_first

    different = [pair for pair in pairs if not pair.identical]
    for pair in pairs:
        if pair.identical:
            keep(pair, True, "identical")
    _ask(((pair, shown_first(judge, pair.prompt)) for pair in different), 0, len(different), keep)


def _ask(pairs: Iterable[tuple[Pair, bool]], answered: int, total: int, keep: Keep) -> None:
    for number, (pair, tuned_first) in enumerate(pairs, start=answered + 1):
        say(f"\n[{number}/{total}]\n{_shown(pair.conversation)}")
        for place, answer in enumerate(pair.shown(tuned_first), start=1):
            say(f"\n  answer {place}\n{textwrap.indent(_shown(answer), '    ')}")
        say(f"\n  {_KEYS}")
        key = read_key()
        while key not in ("q", "", "s", *_SAID):
            say(f"  {_KEYS}")
            key = read_key()
        if key in ("q", ""):
            return
        if key != "s":
            keep(pair, tuned_first, _SAID[key])


def _shown(text: str) -> str:
    return shown_lines(text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…")


def _require(found: Mapping[str, Any], name: str) -> None:
    """Turns a verdict that is not better into exit code 1; the result is printed already."""
    answers = [judged["verdict"]["answer"] for judged in found["judges"] if judged["judge"] == name]
    if answers != ["better"]:
        answer = answers[0] if answers else "too little data"
        raise GoalNotReachedError("verdict/not-better", f'the verdict is "{answer}"', where="--require better")


def show_choices(found: Mapping[str, Any]) -> str:
    """The verdict of each judge with what it rests on, and how well judges agree."""
    lines = []
    for judged in found["judges"]:
        answer, reason = str(judged["verdict"]["answer"]), judged["verdict"]["reason"]
        people = ", ".join(map(wording.visible, judged["people"]))
        name = f"{wording.visible(judged['judge'])}{f' ({people})' if people else ''}"
        shown = coloured(answer.upper(), COLOURS.get(answer, "0"))
        lines += ["", f"CHOICES OF {name} against {found['against']}: {shown}", f"  {reason}"]
        lines += [f"  {line}" for line in wording.choices(judged, found["prompts"])]
    if not found["judges"]:
        lines += ["", f"nobody has chosen between tuned and {found['against']} yet"]
    lines += [f"  agreement of {wording.agreement(pair)}" for pair in found["agreement"]]
    return "\n".join(lines)
