"""Metrics that are a formula over sums: what each row adds is counted once, and any weighting of the rows is a product.

Shapes: N rows, S sums, R weightings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from burnish.evaluation.metrics.resampling import Array, bias_corrected_interval, cells, draws
from burnish.types import MetricValue, Row

RESAMPLES = 1_000  # of the interval a metric gives by itself


class FromSums(ABC):
    """A metric whose value is `of(sums)`, with `sums` added up over the rows."""

    name: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self.references: list[Any] = []
        self.predictions: list[Any] = []

    @abstractmethod
    def sums(self, reference: Any, prediction: Any) -> Sequence[float]:
        """What one row adds, (S,)."""

    @abstractmethod
    def of(self, sums_RS: Array) -> Array:
        """The metric of sums over rows, (R,)."""

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        self.predictions += [row["label"] for row in predictions]
        self.references += [row["label"] for row in references]

    def merge(self, other: Self) -> None:
        self.predictions += other.predictions
        self.references += other.references

    def compute(self) -> MetricValue:
        """The value over all rows; interval: bias-corrected bootstrap over rows."""
        n = len(self.references)
        if not n:
            return MetricValue(self.name, 0.0, 0, higher_is_better=self.higher_is_better)
        rows, counts_N = cells(self.references, self.predictions)
        sums_NS = np.array([self.sums(reference, prediction) for reference, prediction in rows], dtype=np.float64)
        value = float(self.of(counts_N[None] @ sums_NS)[0])
        values_R = np.concatenate([self.of(weights_RN @ sums_NS) for weights_RN in draws(counts_N, RESAMPLES, 0)])
        return MetricValue(self.name, value, n, *bias_corrected_interval(values_R, value), self.higher_is_better)

    def weighted(self, references: Sequence[Any], predictions: Sequence[Any], weights_RN: Array) -> Array:
        """The metric when row i counts `weights_RN[r, i]` times, (R,) float64."""
        pairs = zip(references, predictions, strict=True)
        sums_NS = np.array([self.sums(reference, prediction) for reference, prediction in pairs], dtype=np.float64)
        return self.of(weights_RN @ sums_NS)


def ratio(numerator_R: Array, denominator_R: Array) -> Array:
    """Each quotient; 0 where there is nothing to divide by."""
    return np.asarray(np.divide(numerator_R, denominator_R, out=np.zeros_like(numerator_R), where=denominator_R > 0))
