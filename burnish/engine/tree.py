"""Beginnings that segments share, computed once: the segments of a batch as a tree.

What a causal model makes of a token depends on nothing behind it. Two answers to one prompt, or conversations with one
system prompt, therefore have the same states as far as they are the same, and need them once: a segment computes the
tokens that nobody before it has, and attends to those of the segment it continues as if they were its own. Gradients
of all of them meet in what they share.

Shapes: T tokens of the rows, C that are computed, G segments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from burnish.types import Encoded

Array = np.ndarray[Any, Any]

LEAST = 16  # tokens that rows must begin alike with: fewer save less than the masks and copies cost
GOES_ON = 3  # tokens of rows that show whether sharing is right
WORTH = 1 / 32  # share of the tokens that rows must save together, for the same reason


@dataclass(frozen=True, slots=True)
class Tree:
    """Which tokens of a batch are computed, in which order, and behind which others.

    Attributes:
        tokens: (C,) which of the T tokens each computed one is.
        places: (T,) where each of the T tokens is among the computed ones.
        own: (G,) tokens that each segment computes, at least one; segments that continue none come first.
        before: of each segment, places of the computed tokens it continues, in their order.
    """

    tokens: Array
    places: Array
    own: Array
    before: tuple[Array, ...]

    @property
    def roots(self) -> int:
        """How many segments continue none."""
        return sum(not len(before) for before in self.before)


def tree_of(rows: Sequence[Encoded], *, across: bool) -> Tree | None:
    """The segments of some rows as a tree; None where none continues another.

    Args:
        across: rows that begin alike share their beginning, too, and not only the segments of one row that say so.
    """
    full, at, declared = _segments(rows)
    across = across and all(row.token_types is None for row in rows)
    if not across and not any(declared):
        return None
    parents = _alike(full, declared) if across else None
    if parents is None or sum(shared for _, shared in parents) - _said(rows) < WORTH * sum(map(len, full)):
        parents = _as_said(rows)
    if not any(shared for _, shared in parents):
        return None
    return _laid(full, at, parents)


def begin_alike(rows: Sequence[Encoded]) -> list[Encoded]:
    """Two of the rows that share a beginning worth computing once, short ones; none where no two do.

    Each goes on behind it for a few tokens, or a token that saw what follows would not show.
    """
    found: list[Encoded] = []
    order = sorted(rows, key=lambda row: _sortable(_first(row)))
    for one, other in pairwise(order):
        if found and one.length + other.length >= sum(row.length for row in found):
            continue
        least = _same(_first(one), _first(other))
        most = max(LEAST, math.ceil(WORTH * (one.length + other.length)))
        if least >= most and min(len(_first(one)), len(_first(other))) >= least + GOES_ON:
            found = [one, other]
    return found


def telling(pair: Sequence[Encoded]) -> list[Encoded]:
    """First segments of two rows that begin alike, and a shorter one that does, too: as unlike as segments can be.

    What a token of one must not see, padding and what others go on with, is there for it to see.
    """
    first = [_first(row) for row in pair]
    cut = first[1][: _same(*first) + 1]
    return [Encoded(ids, (len(ids),), np.array(0)) for ids in (*first, cut)]


def common_beginning(rows: Sequence[Encoded]) -> int:
    """Tokens that all rows begin with, and each goes on behind; 0 where they are too few to be shared."""
    if len(rows) < 2:
        return 0
    first = _first(rows[0])
    for row in rows:
        first = first[: _same(first, _first(row)[:-1])]
        if len(first) < LEAST:
            return 0
    return len(first)


def _segments(rows: Sequence[Encoded]) -> tuple[list[Array], list[Array], list[int]]:
    """Of each segment all tokens with those it takes over, where they are among the T, and how many its row says."""
    full, at, declared, start = list[Array](), list[Array](), list[int](), 0
    for row in rows:
        ends = np.cumsum(row.segment_lengths)
        first = np.arange(start, start + ends[0])
        for index, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            own = np.arange(start + begin, start + end)
            at.append(np.concatenate([first[: row.shared_prefix], own]) if index else own)
            full.append(row.token_ids[at[-1] - start])
            declared.append(row.shared_prefix if len(ends) > 1 else 0)
        start += row.length
    return full, at, declared


def _said(rows: Sequence[Encoded]) -> int:
    """Tokens that the rows' own segments say they share."""
    return sum(row.shared_prefix * (len(row.segment_lengths) - 1) for row in rows)


def _as_said(rows: Sequence[Encoded]) -> list[tuple[int, int]]:
    """Which segment each continues, and how many of its tokens: the first of its row, as the row says."""
    parents = list[tuple[int, int]]()
    for row in rows:
        first = len(parents)
        parents += [(first, row.shared_prefix if i else 0) for i in range(len(row.segment_lengths))]
    return parents


def _alike(full: Sequence[Array], declared: Sequence[int]) -> list[tuple[int, int]]:
    """Which segment each continues, and how many of its tokens: in the order of a dictionary, the one before it.

    No other that stands further up has more in common with it. Each keeps a token of its own.
    """
    order = sorted(range(len(full)), key=lambda segment: _sortable(full[segment]))
    parents = [(segment, 0) for segment in range(len(full))]
    for before, segment in pairwise(order):
        shared = min(_same(full[before], full[segment]), len(full[segment]) - 1)
        if shared >= (min(LEAST, declared[segment]) or LEAST):
            parents[segment] = before, shared
    return parents


def _laid(full: Sequence[Array], at: Sequence[Array], parents: Sequence[tuple[int, int]]) -> Tree:
    """The computed tokens: segments that continue none first, both kinds by how long they are."""
    own = np.array([len(ids) - shared for ids, (_, shared) in zip(full, parents, strict=True)])
    order = sorted(range(len(full)), key=lambda segment: (parents[segment][1] > 0, own[segment], len(full[segment])))
    starts = np.zeros(len(full), np.int64)
    starts[order] = np.cumsum(own[order]) - own[order]
    chains: dict[int, Array] = {}

    def chain(segment: int) -> Array:
        """Places of all tokens of a segment."""
        todo = [segment]
        while todo:  # parents first, without recursion: each row may continue the one before it
            parent, shared = parents[todo[-1]]
            if shared and parent not in chains:
                todo.append(parent)
                continue
            last = todo.pop()
            mine = np.arange(starts[last], starts[last] + own[last])
            chains[last] = np.concatenate([chains[parent][:shared], mine]) if shared else mine
        return chains[segment]

    places, tokens = np.zeros(1 + max(int(each.max()) for each in at), np.int64), np.zeros(int(own.sum()), np.int64)
    for segment in range(len(full)):
        places[at[segment]] = chain(segment)
        tokens[chains[segment][parents[segment][1] :]] = at[segment][parents[segment][1] :]
    before = tuple(chains[segment][: parents[segment][1]] for segment in order)
    return Tree(tokens, places, own[order], before)


def _first(row: Encoded) -> Array:
    """Tokens of a row's first segment."""
    return row.token_ids[: row.segment_lengths[0]]


def _same(one: Array, other: Array) -> int:
    """Tokens that two begin with."""
    most = min(len(one), len(other))
    different = np.flatnonzero(one[:most] != other[:most])
    return int(different[0]) if len(different) else most


def _sortable(ids: Array) -> bytes:
    """Bytes in whose order token ids stand as they do in a dictionary."""
    return ids.astype(">u4").tobytes()
