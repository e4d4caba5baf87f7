"""How long the texts are, and what a base would not read of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.data.doctor.finding import ANSWER, CELL, Array, Finding, Subject

CountTokens = Callable[[Sequence[str]], Array]
EDGES = (0, 1, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)  # characters; bars of the histogram


@dataclass(frozen=True, slots=True)
class Limit:
    """What a base reads of a row.

    Attributes:
        base: its name.
        max_length: tokens, special ones included.
        count_tokens: texts -> (N,) their tokens, special ones included.
    """

    base: str
    max_length: int
    count_tokens: CountTokens


def length_histogram(subject: Subject) -> dict[str, Any]:
    """Characters per row: {"median", "p95", "longest", "longest_at", "histogram": [[from, rows], ...]}."""
    if not len(subject.examples) or CELL in subject.used_roles or subject.shows_images:
        return {}
    lengths = _characters(subject)
    counts, _ = np.histogram(lengths, bins=[*EDGES, np.iinfo(np.int64).max])
    longest = int(lengths.argmax())
    return {
        "median": int(np.median(lengths)),
        "p95": int(np.quantile(lengths, 0.95)),
        "longest": int(lengths[longest]),
        "longest_at": subject.place(longest),
        "histogram": [[edge, int(count)] for edge, count in zip(EDGES, counts, strict=True)],
    }


def _characters(subject: Subject) -> Array:
    sizes = np.fromiter(map(len, subject.texts), np.int64, len(subject.texts))
    return np.bincount(subject.rows, sizes, minlength=len(subject.examples)).astype(np.int64)


def truncation(subject: Subject, limit: Limit) -> Iterator[Finding]:
    """Rows that are longer than the base reads, and whether it is the answer that would be cut."""
    places = np.flatnonzero(subject.roles != 2)  # chosen and rejected are read one at a time; chosen stands for both
    counts = limit.count_tokens([subject.texts[index] for index in places])
    tokens = np.bincount(subject.rows[places], counts, minlength=len(subject.examples))
    cut = np.flatnonzero(tokens > limit.max_length)
    if not len(cut):
        return
    answers = subject.roles[places] == 1
    before = np.bincount(subject.rows[places][~answers], counts[~answers], minlength=len(subject.examples))
    has_answer = ANSWER in subject.used_roles
    lost = cut[before[cut] >= limit.max_length] if has_answer else cut[:0]
    worst = int(cut[tokens[cut].argmax()])
    what = f"are longer than the {limit.max_length:,} tokens that {limit.base} reads"
    if has_answer:
        what += f": the end of the answer would be cut, and all of it in {len(lost):,} rows"
    else:
        what += "; their end is not read"
    yield subject.finding(
        "data/too-long",
        "error" if has_answer else "warning",
        cut,
        what,
        "take a base that reads more, or shorten these rows",
        details=[f"{subject.place(worst)}: {int(tokens[worst]):,} tokens", f"cut in all: {_cut(tokens[cut], limit)}"],
    )


def _cut(tokens: Array, limit: Limit) -> str:
    return f"{int((tokens - limit.max_length).sum()):,} of {int(tokens.sum()):,} tokens of these rows"
