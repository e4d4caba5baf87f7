"""Prediction on the training's own layout: sorted by length, bounded memory, results in the order of the rows."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from burnish.engine.layout import LayoutChoice, RowBatch
from burnish.engine.memory import is_out_of_memory, release_memory
from burnish.engine.precision import Precision
from burnish.engine.rows import lengths_of
from burnish.engine.sampler import Numbers, micro_batches
from burnish.errors import OutOfMemoryError
from burnish.types import Encoded, Progress, Row, Silent, Task

MAX_TOKENS = 4_096  # computed at once: large enough for the matrix products, small enough for any machine


def predict_rows(
    task: Task,
    model: nn.Module,
    rows: Sequence[Encoded],
    *,
    layout: LayoutChoice,
    precision: Precision,
    device: torch.device,
    progress: Progress | None = None,
) -> list[Row]:
    """The task's predictions, one per row, in the order of `rows`."""
    results: list[Row | None] = [None] * len(rows)

    def keep(batch: RowBatch) -> None:
        for index, prediction in zip(batch.row_ids, task.predict(model, batch), strict=True):
            results[index] = prediction

    each_batch(rows, keep, layout=layout, precision=precision, device=device, progress=progress)
    return [result for result in results if result is not None]


def pooled_features(
    model: nn.Module,
    rows: Sequence[Encoded],
    *,
    layout: LayoutChoice,
    precision: Precision,
    device: torch.device,
    progress: Progress | None = None,
) -> np.ndarray[Any, Any]:
    """(rows, D) float32: what `model` (a PooledEncoder) gives for each row of one segment.

    (R, D) where the model does not pool: a vector for each token that the rows name as read.
    """
    features: list[np.ndarray[Any, Any] | None] = [None] * len(rows)

    def keep(batch: RowBatch) -> None:
        pooled: Tensor = model(batch)
        each = np.cumsum(batch.read_counts)[:-1] if any(batch.read_counts) else batch.row_count
        for index, vectors in zip(batch.row_ids, np.split(pooled.float().cpu().numpy(), each), strict=True):
            features[index] = vectors

    each_batch(rows, keep, layout=layout, precision=precision, device=device, progress=progress)
    return np.concatenate([vectors for vectors in features if vectors is not None])


class _Computed(nn.Module):
    """Stands in for a model whose numbers are there already: (rows, C) of the rows of a batch."""

    def __init__(self, numbers: Sequence[np.ndarray[Any, Any]]) -> None:
        super().__init__()
        self.numbers = numbers

    def forward(self, batch: RowBatch) -> Tensor:
        return torch.from_numpy(np.concatenate([self.numbers[index] for index in batch.row_ids]))


def answers_of_numbers(
    task: Task, rows: Sequence[Encoded], numbers: Sequence[np.ndarray[Any, Any]], *, layout: LayoutChoice
) -> list[Row]:
    """The task's predictions from numbers that something else computed, in the order of `rows`.

    Args:
        numbers: (1, C) of each row, or (R, C) where the task reads tokens.
    """
    exact = Precision("fp32", "the numbers are there")
    return predict_rows(task, _Computed(numbers), rows, layout=layout, precision=exact, device=torch.device("cpu"))


def loss_and_predictions(
    task: Task,
    model: nn.Module,
    rows: Sequence[Encoded],
    *,
    layout: LayoutChoice,
    precision: Precision,
    device: torch.device,
) -> tuple[float, list[Row]]:
    """Loss per unit over the rows in nats, and the predictions in their order, from one pass through the model."""
    total, weight = 0.0, 0.0
    results: list[Row | None] = [None] * len(rows)

    def judge(batch: RowBatch) -> None:
        nonlocal total, weight
        predictions = task.predict(model, batch)
        term = task.loss(model, batch)
        for index, prediction in zip(batch.row_ids, predictions, strict=True):
            results[index] = prediction
        total += float(term.total)
        weight += term.weight

    each_batch(rows, judge, layout=layout, precision=precision, device=device)
    return total / weight, [result for result in results if result is not None]


def each_batch(
    rows: Sequence[Encoded],
    use: Callable[[RowBatch], None],
    *,
    layout: LayoutChoice,
    precision: Precision,
    device: torch.device,
    progress: Progress | None = None,
) -> None:
    """Calls `use` on every batch, shortest rows first, without gradients, in evaluation mode.

    A batch that does not fit into memory is halved until it does.

    Raises:
        OutOfMemoryError: [engine/out-of-memory] when a single row does not fit.
    """
    lengths = lengths_of(rows)
    done, progress = 0, progress or Silent()
    with torch.inference_mode(), precision.compute(device):
        for whole in _mostly_even(map(int, np.argsort(lengths, kind="stable")), lengths):
            pieces = [whole]
            while pieces:
                piece = pieces.pop()
                if not _fits(use, rows, piece, layout, device):
                    pieces += _halves(piece, lengths)
                    continue
                done += len(piece)
                progress.advance(done, len(rows), {})


def _mostly_even(order: Iterable[int], lengths: Numbers) -> Iterator[list[int]]:
    """Pieces of at most MAX_TOKENS tokens; where half of them are reached, a piece ends with the rows of its length.

    Rows of one length lie on the grid of the attention as they are, with nothing to copy and nothing to mask.
    """
    run: list[int] = []
    tokens = 0
    for row in order:
        if run and lengths[row] != lengths[run[-1]] and tokens >= MAX_TOKENS // 2:
            yield from micro_batches(run, lengths, max_tokens=MAX_TOKENS)
            run, tokens = [], 0
        run.append(row)
        tokens += lengths[row]
    yield from micro_batches(run, lengths, max_tokens=MAX_TOKENS)


def _fits(
    use: Callable[[RowBatch], None],
    rows: Sequence[Encoded],
    piece: Sequence[int],
    layout: LayoutChoice,
    device: torch.device,
) -> bool:
    """Whether the batch was used; False when memory ended."""
    try:
        use(layout.lay_out([rows[i] for i in piece], piece, device=device))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _halves(piece: list[int], lengths: Numbers) -> list[list[int]]:
    if len(piece) == 1:
        raise OutOfMemoryError(
            "engine/out-of-memory",
            f"one row of {lengths[piece[0]]:,} tokens does not fit into memory",
            hint="use a smaller base, or shorten the longest rows",
        )
    gc.collect()
    release_memory()
    half = len(piece) // 2
    return [piece[half:], piece[:half]]
