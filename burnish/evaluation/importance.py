"""Which columns a model of a table relies on: what its metric loses when a column's cells are shuffled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from burnish.evaluation.metrics.resampling import value_of
from burnish.types import Metric, Row

REPEATS = 5  # shuffles of each column
MOST_ROWS = 1_000  # looked at; evenly taken from those that are given


def permutation_importance(
    columns: Sequence[str],
    rows: Sequence[Row],
    references: Sequence[Any],
    answer: Callable[[Sequence[Row]], Sequence[Any]],
    metric: Metric,
    *,
    seed: int,
) -> dict[str, Any]:
    """{"n" rows, "repeats", "metric", "columns": [{"column", "loss", "low", "high"}]}, the most needed first.

    The loss is in the metric's unit, higher where the column matters more: the mean over the shuffles, and the least
    and greatest of them. Columns that say the same stand in for each other, and each then looks dispensable.

    Args:
        rows: with "features"; they are not changed.
        answer: the model's answers to such rows.
        metric: an empty one.

    Source: Breiman 2001, Random Forests; Fisher et al. 2019, arXiv:1801.01489.
    """
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).round().astype(int)).tolist()
    rows, references = [rows[i] for i in chosen], [references[i] for i in chosen]
    sign = 1.0 if metric.higher_is_better else -1.0
    whole = value_of(metric, references, answer(rows))
    random = np.random.default_rng(seed)
    found = []
    for column in columns:
        cells = [row["features"].get(column) for row in rows]
        losses = []
        for _ in range(REPEATS):
            order = random.permutation(len(rows)).tolist()
            shuffled = [
                {"features": {**row["features"], column: cells[place]}} for row, place in zip(rows, order, strict=True)
            ]
            losses.append(sign * (whole - value_of(metric, references, answer(shuffled))))
        found.append((-sum(losses) / REPEATS, column, losses))
    entries = [{"column": c, "loss": -gain, "low": min(some), "high": max(some)} for gain, c, some in sorted(found)]
    return {"n": len(rows), "repeats": REPEATS, "metric": metric.name, "columns": entries}
