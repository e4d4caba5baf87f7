"""Predicted numbers against the numbers that came true.

Shapes: N rows, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from burnish.evaluation.metrics.bootstrapped import Bootstrapped
from burnish.evaluation.metrics.resampling import Array


class OfNumbers(Bootstrapped):
    """A metric of numbers."""

    def score(self, reference: float, prediction: float) -> float:
        """The error of a row, with the sign of the metric: more is better where the metric says so."""
        error = abs(prediction - reference)
        return -error if self.higher_is_better else error


class MeanAbsoluteError(OfNumbers):
    """Mean distance from the truth, in the target's unit."""

    name: ClassVar[str] = "mae"
    higher_is_better: ClassVar[bool] = False

    def weighted(self, references: Sequence[float], predictions: Sequence[float], weights_RN: Array) -> Array:
        error_N = np.abs(np.subtract(predictions, references))
        return np.asarray(weights_RN @ error_N / weights_RN.sum(axis=1))


class RootMeanSquaredError(OfNumbers):
    """Root of the mean squared distance from the truth, in the target's unit."""

    name: ClassVar[str] = "rmse"
    higher_is_better: ClassVar[bool] = False

    def weighted(self, references: Sequence[float], predictions: Sequence[float], weights_RN: Array) -> Array:
        error_N = np.square(np.subtract(predictions, references))
        return np.asarray(np.sqrt(weights_RN @ error_N / weights_RN.sum(axis=1)))


class RSquared(OfNumbers):
    """Share of the target's variance that is explained: 1 is perfect, 0 as good as the mean of these rows.

    Rows whose targets are all alike give 0.
    """

    name: ClassVar[str] = "r2"

    def weighted(self, references: Sequence[float], predictions: Sequence[float], weights_RN: Array) -> Array:
        truth_N = np.asarray(references, dtype=np.float64)
        centred_N = truth_N - truth_N.mean()  # large numbers would lose their digits in the squares below
        total_R = weights_RN.sum(axis=1)
        spread_R = weights_RN @ np.square(centred_N) - np.square(weights_RN @ centred_N) / total_R
        error_R = weights_RN @ np.square(np.subtract(predictions, truth_N))
        return np.where(spread_R > 0, 1 - error_R / np.where(spread_R > 0, spread_R, 1.0), 0.0)


NUMBER_METRICS: tuple[type[OfNumbers], ...] = (RSquared, MeanAbsoluteError, RootMeanSquaredError)
