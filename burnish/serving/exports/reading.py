"""Rows as a program without burnish reads them: the folder's own tokenizer, padded batches, numbers for each row.

Shapes: B segments of a batch, S longest of them, C classes or D numbers of a vector, R tokens of a row that are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.task.question_answering import SHARED
from burnish.types import Row

Array = np.ndarray[Any, Any]
Run = Callable[[Array, Array, Array], Array]  # (B, S) ids, mask and types -> (B, C), or (B, S, C) where tokens are read
BATCH = 16  # segments at once


@dataclass(frozen=True, slots=True)
class Read:
    """A row as tokens.

    Attributes:
        segments: ids of its text, or of each window of a long one.
        types: number of the text each of these tokens is of, 0 or 1.
        positions: of the tokens whose numbers are read, counted over all segments; None where the row has one vector.
    """

    segments: Sequence[Sequence[int]]
    types: Sequence[Sequence[int]]
    positions: Sequence[int] | None = None


def plain_read(tokenizer: Any, row: Row, *, max_length: int, positions: Sequence[int] | None) -> Read:
    """A row through a tokenizer of transformers, as USE.md does it.

    Args:
        positions: of the tokens that the training reads; the tokens themselves are compared with the training's.
    """
    cut: dict[str, Any] = {"truncation": True, "max_length": max_length, "return_token_type_ids": True}
    if "question" in row:
        cut |= {"truncation": "only_second", "stride": int(SHARED * max_length), "return_overflowing_tokens": True}
        found = tokenizer(row["question"], row["context"], **cut)
        return Read(found["input_ids"], found["token_type_ids"], positions)
    if "first" in row:
        found = tokenizer(row["first"], row["second"], **cut)
    elif "tokens" in row:
        found = tokenizer(list(row["tokens"]), is_split_into_words=True, **cut)
    else:
        found = tokenizer(row["text"], **cut)
    return Read([found["input_ids"]], [found["token_type_ids"]], positions)


def numbers_of(run: Run, reads: Sequence[Read], *, pad: int) -> list[Array]:
    """(1, C) for each row, or (R, C) where tokens are read; the segments in padded batches as they come."""
    segments = [(ids, types) for read in reads for ids, types in zip(read.segments, read.types, strict=True)]
    outputs: list[Array] = []
    for start in range(0, len(segments), BATCH):
        part = segments[start : start + BATCH]
        found = run(*_padded(part, pad))
        outputs += [
            own[: len(ids)] if found.ndim == 3 else own[None] for own, (ids, _) in zip(found, part, strict=True)
        ]
    rows: list[Array] = []
    for read in reads:
        own, outputs = outputs[: len(read.segments)], outputs[len(read.segments) :]
        numbers = np.concatenate(own)
        rows.append(numbers if read.positions is None else numbers[list(read.positions)])
    return rows


def _padded(segments: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int) -> tuple[Array, Array, Array]:
    """(B, S) int64 ids, mask and types."""
    longest = max(len(ids) for ids, _ in segments)
    ids_BS = np.full((len(segments), longest), pad, dtype=np.int64)
    mask_BS, types_BS = np.zeros_like(ids_BS), np.zeros_like(ids_BS)
    for row, (ids, types) in enumerate(segments):
        ids_BS[row, : len(ids)] = ids
        mask_BS[row, : len(ids)] = 1
        types_BS[row, : len(ids)] = types
    return ids_BS, mask_BS, types_BS


def differing_tokens(trained: Sequence[Sequence[int]], plain: Sequence[Read]) -> list[int]:
    """Rows whose tokens are not the training's.

    Args:
        trained: ids of each row, its segments one after the other.
    """
    pairs = zip(trained, plain, strict=True)
    return [row for row, (ids, read) in enumerate(pairs) if list(ids) != [i for part in read.segments for i in part]]
