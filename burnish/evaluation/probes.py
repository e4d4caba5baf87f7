"""Probes: short texts and questions that a model could handle before it was tuned, and should handle after.

A file of probes is JSONL with one of three kinds of rows; `kind` groups them in the report and may be left out:

    {"text": "...", "kind": "story"}                                    how well the whole text is foreseen
    {"prompt": "Water is", "completion": " wet."}                        how well the completion is foreseen
    {"prompt": "Water is", "choices": [" wet", " dry"], "answer": 0}     and whether the right choice is the likeliest

Prompt and completion are put together as they stand, without a chat template: a space between them belongs to the
completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from burnish.data.jsonl import RefusedJsonError, parse_object
from burnish.errors import DataReadError, excerpt
from burnish.types import Origin

SHIPPED, NO_PROBES = "shipped", "none"
FEWEST = 10  # probes: an interval of fewer says nothing
_SHAPE = '{"text": ...}, {"prompt": ..., "completion": ...} or {"prompt": ..., "choices": [...], "answer": 0}'


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing a model is asked before and after.

    Attributes:
        kind: group of the report.
        prompt: what stands before; empty for a whole text.
        continuations: what may follow; one, or the choices.
        answer: index of the right one.
        origin: file and line.
    """

    kind: str
    prompt: str
    continuations: tuple[str, ...]
    answer: int
    origin: Origin

    @property
    def is_choice(self) -> bool:
        return len(self.continuations) > 1

    @property
    def text(self) -> str:
        """Prompt and right continuation, for people."""
        return self.prompt + self.continuations[self.answer]


def read_probes(places: Sequence[str]) -> list[Probe]:
    """The probes of some files; "shipped" names ours.

    Raises:
        DataReadError: [probes/unreadable], [probes/bad-row], [probes/too-few].
    """
    found: list[Probe] = []
    for place in places:
        for number, line in enumerate(_lines(place), start=1):
            if line.strip():
                found.append(_probe(line, Origin(place, number)))
    if len(found) < FEWEST:
        raise DataReadError(
            "probes/too-few",
            f"{len(found)} probes are too few to tell forgetting from chance",
            where=", ".join(places),
            hint=f"give at least {FEWEST}, or write `shipped` for ours",
        )
    return found


def _lines(place: str) -> list[str]:
    try:
        if place == SHIPPED:
            return files("burnish.evaluation").joinpath("probes.jsonl").read_text(encoding="utf-8").splitlines()
        return Path(place).read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataReadError(
            "probes/unreadable",
            f"the probes cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}",
            where=place,
            hint="name a JSONL file in evaluation.forgetting.probes, or write `shipped` for ours",
        ) from None


def _probe(line: str, origin: Origin) -> Probe:
    try:
        row = parse_object(line)
    except RefusedJsonError as refused:
        raise _bad(origin, str(refused)) from None
    kind = row.get("kind", "probes")
    if not isinstance(kind, str) or not kind:
        raise _bad(origin, '"kind" is no text')
    prompt = row.get("prompt", "")
    if not isinstance(prompt, str):
        raise _bad(origin, '"prompt" is no text')
    if "choices" in row:
        return Probe(kind, prompt, _choices(row, origin), _answer(row, origin), origin)
    name = "completion" if "prompt" in row else "text"
    text = row.get(name)
    if not isinstance(text, str) or not text.strip():
        raise _bad(origin, f'"{name}" is no text or empty')
    return Probe(kind, prompt, (text,), 0, origin)


def _choices(row: Mapping[str, Any], origin: Origin) -> tuple[str, ...]:
    choices = row["choices"]
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c.strip() for c in choices):
        raise _bad(origin, '"choices" is no list of two texts or more')
    if len(set(choices)) < len(choices):
        raise _bad(origin, f'the choice "{excerpt(max(choices, key=choices.count))}" is there twice')
    return tuple(choices)


def _answer(row: Mapping[str, Any], origin: Origin) -> int:
    answer, count = row.get("answer"), len(row["choices"])
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < count:
        raise _bad(origin, f'"answer" is no number from 0 to {count - 1}, the place of the right choice')
    return answer


def _bad(origin: Origin, reason: str) -> DataReadError:
    return DataReadError("probes/bad-row", reason, where=str(origin), hint=f"a probe is {_SHAPE}")
