"""Rows that must stay in one part of the data: equal or almost equal texts, and rows of one declared group."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from burnish.data.deduplicate import asked_form, belonging_forms, loose_form
from burnish.types import Example


def bundles(
    examples: Sequence[Example], *, clusters: Sequence[int] | None = None, group_by: str | None = None
) -> list[int]:
    """The bundle of each row: the index of its first row.

    Two rows are in one bundle when a chain of rows links them, each to the next by an equal loose form, an equal
    question (of conversations: what comes before the last turn; of seq2seq: the source), an equal text (of pairs that
    belong together; the context of questions), an equal cluster or an equal value of the column `group_by`. A row
    without such a value belongs to no group.

    Args:
        clusters: one number per row, equal for rows that say almost the same; None: only equal texts count.
        group_by: a column that `data.group_by` made the reader keep.

    Cost: O(rows), one dictionary for each kind of link.
    """
    roots = list(range(len(examples)))
    _link(roots, [loose_form(example.row) for example in examples])
    _link(roots, [asked_form(example.row) for example in examples])
    _link_by_any(roots, [belonging_forms(example.row) for example in examples])
    if clusters is not None:
        _link(roots, [int(cluster) for cluster in clusters])
    if group_by is not None:
        _link(roots, [group_of(example, group_by) for example in examples])
    return [_root(roots, index) for index in range(len(examples))]


def group_of(example: Example, group_by: str) -> str | None:
    """The declared group of a row; None when the cell is missing or blank."""
    value = example.extra.get(group_by)
    return None if value is None or not str(value).strip() else str(value).strip()


def _link(roots: list[int], keys: Sequence[Hashable]) -> None:
    """Joins rows with equal keys; None links nothing."""
    _link_by_any(roots, [() if key is None else (key,) for key in keys])


def _link_by_any(roots: list[int], keys: Sequence[Sequence[Hashable]]) -> None:
    """Joins rows that have a key in common."""
    first: dict[Hashable, int] = {}
    for index, own in enumerate(keys):
        for key in own:
            one, other = _root(roots, first.setdefault(key, index)), _root(roots, index)
            roots[max(one, other)] = min(one, other)


def _root(roots: list[int], index: int) -> int:
    """The first row of a bundle; the way there is halved for the next one who asks (Tarjan and van Leeuwen 1984)."""
    while roots[index] != index:
        roots[index] = roots[roots[index]]
        index = roots[index]
    return index
