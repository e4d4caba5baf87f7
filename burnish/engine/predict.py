"""Prediction on the training's own layout: sorted by length, bounded memory, results in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from burnish.engine.layout import LaidOut, LayoutChoice
from burnish.engine.precision import Precision
from burnish.engine.sampler import micro_batches
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

    def keep(batch: LaidOut) -> None:
        for index, prediction in zip(batch.row_ids, task.predict(model, batch), strict=True):
            results[index] = prediction

    _over(rows, keep, layout, precision, device, progress or Silent())
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
    """(rows, D) float32: what `model` (a PooledEncoder) gives for each row of one segment."""
    features: list[np.ndarray[Any, Any] | None] = [None] * len(rows)

    def keep(batch: LaidOut) -> None:
        pooled: Tensor = model(batch)
        for index, vector in zip(batch.row_ids, pooled.float().cpu().numpy(), strict=True):
            features[index] = vector

    _over(rows, keep, layout, precision, device, progress or Silent())
    return np.stack([vector for vector in features if vector is not None])


def mean_loss(
    task: Task,
    model: nn.Module,
    rows: Sequence[Encoded],
    *,
    layout: LayoutChoice,
    precision: Precision,
    device: torch.device,
) -> float:
    """Loss per unit over the rows, in nats."""
    total, weight = 0.0, 0.0

    def add(batch: LaidOut) -> None:
        nonlocal total, weight
        term = task.loss(model, batch)
        total += float(term.total)
        weight += term.weight

    _over(rows, add, layout, precision, device, Silent())
    return total / weight


def _over(
    rows: Sequence[Encoded],
    use: Callable[[LaidOut], None],
    layout: LayoutChoice,
    precision: Precision,
    device: torch.device,
    progress: Progress,
) -> None:
    """Calls `use` on every batch, shortest rows first, without gradients, in evaluation mode."""
    lengths = [row.length for row in rows]
    order = np.argsort(lengths, kind="stable").tolist()
    done = 0
    with torch.inference_mode(), precision.compute(device):
        for piece in micro_batches(order, lengths, max_tokens=MAX_TOKENS):
            use(
                LaidOut(
                    [rows[i] for i in piece],
                    piece,
                    padded=layout.padded,
                    device=device,
                    position_offset=layout.position_offset,
                )
            )
            done += len(piece)
            progress.advance(done, len(rows), {})
