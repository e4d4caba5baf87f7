"""Columns of a table that give the target away, and those that tell nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np

from burnish.data.doctor.finding import Array, Finding, Subject, is_table
from burnish.data.table import cell
from burnish.data.table_columns import Kind, kind_of

BINS = 32  # a number is cut into at most so many bins of equal size
GIVEN_AWAY = 0.9  # share of the majority's mistakes that one column removes
MIN_ROWS = 50  # under that, one column of many predicts the target by chance


def target_leaks(subject: Subject) -> Iterator[Finding]:
    """Columns that alone predict the target almost without a mistake, judged with each row left out."""
    rows = [example.row for example in subject.examples if is_table(example.row)]
    if len(rows) < MIN_ROWS:
        return
    target = [str(row.get("target")) for row in rows]
    if len(set(target)) > len(rows) / 10:
        target = _binned([row.get("target") for row in rows], 10) or target
    (_, most), *_ = Counter(target).most_common(1)
    mistakes = len(rows) - most
    for column in rows[0]["features"] if mistakes else ():
        values = [row["features"].get(column) for row in rows]
        wrong = len(rows) - _left_out_hits(_binned(values, BINS) or list(map(str, values)), target)
        if wrong <= (1 - GIVEN_AWAY) * mistakes:
            yield subject.finding(
                "data/target-leak",
                "error",
                (),
                f'the column "{column}" alone predicts the target: {wrong:,} of {len(rows):,} rows wrong, '
                f"{mistakes:,} without it",
                f'ask whether "{column}" is known before the target is; if not, leave it out',
                details=[f"{column}: right in {1 - wrong / len(rows):.1%} of the rows"],
            )


def unread_columns(subject: Subject) -> Iterator[Finding]:
    """Columns that no model of a table reads: names of rows, and those that are always the same."""
    rows = [example.row["features"] for example in subject.examples if is_table(example.row)]
    columns = dict.fromkeys(column for row in rows for column in row)
    why = {column: kind_of(column, [cell(row.get(column)) for row in rows]) for column in columns}
    unread = {column: reason for column, reason in why.items() if reason not in get_args(Kind)}
    if unread:
        yield subject.finding(
            "data/unread-column",
            "info",
            (),
            f"{len(unread)} of {len(columns)} columns tell nothing and are not read",
            "nothing to do; `table: {categorical: [COLUMN]}` reads one all the same",
            details=[f"{column}: {reason}" for column, reason in unread.items()],
        )


def _left_out_hits(values: Sequence[str], target: Sequence[str]) -> int:
    """Rows whose target is the majority of the other rows with their value."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for value, wanted in zip(values, target, strict=True):
        counts[value][wanted] += 1
    hits = 0
    for of_value in counts.values():
        (_, most), *others = of_value.most_common(2)
        second = others[0][1] if others else 0
        hits += most if most > second + 1 else 0  # with a row of the majority left out it must still be the majority
    return hits


def _binned(values: Sequence[object], bins: int) -> list[str] | None:
    """Numbers as the number of their bin; None when they are words or few different numbers."""
    try:
        numbers: Array = np.array([float(str(value)) for value in values])
    except ValueError:
        return None
    if len(np.unique(numbers)) <= bins:
        return None
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)[1:-1]))
    return list(map(str, np.searchsorted(edges, numbers, side="right")))
