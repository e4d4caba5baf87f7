"""Metrics that are a formula over sums: what each row adds is counted once, and any weighting of the rows is a product.

Shapes: N rows, S sums, R weightings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from burnish.evaluation.metrics.bootstrapped import Bootstrapped
from burnish.evaluation.metrics.resampling import Array


class FromSums(Bootstrapped, ABC):
    """A metric whose value is `of(sums)`, with `sums` added up over the rows."""

    @abstractmethod
    def sums(self, reference: Any, prediction: Any) -> Sequence[float]:
        """What one row adds, (S,)."""

    @abstractmethod
    def of(self, sums_RS: Array) -> Array:
        """The metric of sums over rows, (R,)."""

    def weighted(self, references: Sequence[Any], predictions: Sequence[Any], weights_RN: Array) -> Array:
        """The metric when row i counts `weights_RN[r, i]` times, (R,) float64."""
        pairs = zip(references, predictions, strict=True)
        sums_NS = np.array([self.sums(reference, prediction) for reference, prediction in pairs], dtype=np.float64)
        return self.of(weights_RN @ sums_NS)


def ratio(numerator_R: Array, denominator_R: Array) -> Array:
    """Each quotient; 0 where there is nothing to divide by."""
    return np.asarray(np.divide(numerator_R, denominator_R, out=np.zeros_like(numerator_R), where=denominator_R > 0))
