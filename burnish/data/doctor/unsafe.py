"""Rows that somebody else calls unsafe: a classifier or an endpoint that the user names. burnish has no opinion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from burnish.data.doctor.finding import ANSWER, CELL, INPUT, Finding, Subject

Moderate = Callable[[Sequence[str]], list[list[str]]]  # texts -> categories each is flagged for, none: it may pass

BATCH = 32  # texts of one question
SHOWN = 20


def unsafe(subject: Subject, moderate: Moderate, advance: Callable[[int, int], None]) -> Iterator[Finding]:
    """Rows with a flagged text, by category.

    Args:
        advance: (texts done, all texts).
    """
    places = subject.of_role(INPUT, ANSWER, CELL).tolist()
    rows: dict[int, list[str]] = {}
    for start in range(0, len(places), BATCH):
        part = places[start : start + BATCH]
        for index, categories in zip(part, moderate([subject.texts[i] for i in part]), strict=True):
            if categories:
                rows.setdefault(int(subject.rows[index]), []).extend(categories)
        advance(min(start + BATCH, len(places)), len(places))
    if not rows:
        return
    counts = Counter(category for found in rows.values() for category in set(found))
    yield subject.finding(
        "data/unsafe",
        "warning",
        rows,
        "hold a text that is called unsafe: " + ", ".join(f"{name} {count:,}" for name, count in counts.most_common()),
        "read them: a model learns to write what it is given; remove those it must not write",
        details=[f"{subject.place(row)}: {', '.join(sorted(set(found)))}" for row, found in list(rows.items())[:SHOWN]],
    )
