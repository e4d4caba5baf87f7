"""What metrics share that are no mean of right and wrong answers: their rows, and a bootstrap over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from burnish.evaluation.metrics.resampling import Array, bias_corrected_interval, cells, draws, wilson_interval
from burnish.evaluation.wording import is_share
from burnish.types import MetricValue, Row

RESAMPLES = 1_000  # of the interval a metric gives by itself
SEED = 0


class Bootstrapped:
    """A metric that its `weighted` defines; interval: bias-corrected bootstrap over rows.

    Where every row is right, or none, all resamples are alike; a metric in 0..1 then gets Wilson's interval.
    """

    name: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self.references: list[Any] = []
        self.predictions: list[Any] = []

    def weighted(self, references: Sequence[Any], predictions: Sequence[Any], weights_RN: Array) -> Array:
        """The metric when row i counts `weights_RN[r, i]` times, (R,) float64."""
        raise NotImplementedError

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        self.predictions += [row["label"] for row in predictions]
        self.references += [row["label"] for row in references]

    def merge(self, other: Self) -> None:
        self.predictions += other.predictions
        self.references += other.references

    def compute(self) -> MetricValue:
        """The value over all rows, 0 of none."""
        if not self.references:
            return MetricValue(self.name, 0.0, 0, higher_is_better=self.higher_is_better)
        rows, counts_N = cells(self.references, self.predictions)
        references, predictions = [row[0] for row in rows], [row[1] for row in rows]
        value = float(self.weighted(references, predictions, counts_N[None])[0])
        blocks = [self.weighted(references, predictions, block_RN) for block_RN in draws(counts_N, RESAMPLES, SEED)]
        low, high = bias_corrected_interval(np.concatenate(blocks), value)
        if low == high and value in (0.0, 1.0) and is_share(self.name):  # every row right, or none
            low, high = wilson_interval(int(value) * len(self.references), len(self.references))
        return MetricValue(self.name, value, len(self.references), low, high, self.higher_is_better)
