"""The order of rows: a pure function of seed and epoch, so that a resumed run needs to remember one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt
import torch

from burnish.engine.options import CPU_TOKENS, GPU_TOKENS, MANY

WINDOW = 8  # batches that are sorted by length together; coarser windows make batches alike and cost accuracy

Numbers = npt.NDArray[np.int64]


class Batches(Sequence[list[int]]):
    """The batches of an epoch, which take eight bytes a row until one is asked for.

    Args:
        rows: (N,) row indices, those of a batch side by side.
        order: which of the batches comes when.
        size: rows of a batch; the last `rows` may be fewer.
    """

    def __init__(self, rows: Numbers, order: Numbers, size: int) -> None:
        self._rows, self._order, self._size = rows, order, size

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> Batches: ...
    def __getitem__(self, index: int | slice) -> list[int] | Batches:
        if isinstance(index, slice):
            return Batches(self._rows, self._order[index], self._size)
        start = int(self._order[index]) * self._size
        batch: list[int] = self._rows[start : start + self._size].tolist()
        return batch


def epoch_batches(lengths: Sequence[int] | Numbers, *, batch_size: int, seed: int, epoch: int) -> Batches:
    """All rows of one epoch as batches of rows of similar length, in shuffled order.

    Args:
        lengths: tokens of each row.
        batch_size: rows per optimizer step; the last batch may be smaller.
        seed, epoch: decide the order completely.

    Returns:
        Batches of row indices; each row occurs once.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    order = random.permutation(len(lengths))
    sizes = np.asarray(lengths)
    span = WINDOW * batch_size
    for start in range(0, len(order), span):
        window = order[start : start + span]
        order[start : start + span] = window[np.argsort(sizes[window], kind="stable")]
    return Batches(order, random.permutation(-(-len(order) // batch_size)), batch_size)


def tokens_at_once(asked: int | None, device: torch.device, *, compared: bool = False, learned: int = 0) -> int:
    """Tokens of a micro-batch: what was asked for, or what keeps the device busy and no more memory than that.

    On CPU cores 1,024 tokens at once are as fast as 4,096, in a quarter of the memory. Not so where the rows of a step
    are compared: a step that is cut into pieces needs a second forward pass. Nor where many weights learn: each piece
    has a gradient as large as they are, and all of them are added up.

    Args:
        learned: numbers that learn.
    """
    usual = (CPU_TOKENS if learned < MANY else 2 * CPU_TOKENS) if device.type == "cpu" else GPU_TOKENS
    return asked or usual * (4 if compared else 1)


def micro_batches(
    rows: Sequence[int], lengths: Sequence[int] | Numbers, *, max_tokens: int, shared: int = 0
) -> list[list[int]]:
    """Cuts the rows of a step into pieces of at most `max_tokens` tokens, at least one row each.

    Args:
        shared: tokens that all rows begin with, counted once in each piece.
    """
    pieces: list[list[int]] = []
    tokens = 0
    for row, length in zip(rows, np.asarray(lengths)[list(rows)].tolist(), strict=True):
        if not pieces or tokens + length - shared > max_tokens:
            pieces.append([])
            tokens = shared
        pieces[-1].append(row)
        tokens += length - shared
    return pieces
