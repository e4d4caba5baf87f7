"""Spearman's rank correlation of predicted and given numbers.

Shapes: N rows, R weightings of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from burnish.evaluation.metrics.bootstrapped import Bootstrapped
from burnish.evaluation.metrics.resampling import Array


class Spearman(Bootstrapped):
    """Correlation of the ranks of predictions and references, -1..1; interval: bias-corrected bootstrap over rows.

    Equal numbers share the mean of their ranks. 0 where all predictions, or all references, are equal.

    Source: Spearman 1904, American Journal of Psychology 15:72-101.
    """

    name: ClassVar[str] = "spearman"
    higher_is_better: ClassVar[bool] = True

    def weighted(self, references: Sequence[Any], predictions: Sequence[Any], weights_RN: Array) -> Array:
        """The correlation when row i counts `weights_RN[r, i]` times, (R,) float64."""
        centred = []
        for values in (references, predictions):
            ranks_RN = weighted_ranks(np.asarray(values, dtype=np.float64), weights_RN)
            means_R1 = (ranks_RN * weights_RN).sum(axis=1, keepdims=True) / weights_RN.sum(axis=1, keepdims=True)
            centred.append(ranks_RN - means_R1)
        covariance_R = (weights_RN * centred[0] * centred[1]).sum(axis=1)
        spread_R = np.sqrt(np.prod([(weights_RN * one**2).sum(axis=1) for one in centred], axis=0))
        return np.asarray(covariance_R / np.where(spread_R > 0, spread_R, 1.0))

    def wins(self, references: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> tuple[int, int]:
        """Rows that a ranks nearer to their rank in the references than b, and farther.

        The squares of these distances are what the correlation is made of: rho = 1 - 6 sum d² / (n³ - n) without ties.
        """
        ones = np.ones((1, len(references)))
        given_N, first_N, second_N = (weighted_ranks(np.asarray(v, np.float64), ones)[0] for v in (references, a, b))
        gains_N = np.abs(second_N - given_N) - np.abs(first_N - given_N)
        return int((gains_N > 0).sum()), int((gains_N < 0).sum())


def weighted_ranks(values_N: Array, weights_RN: Array) -> Array:
    """(R, N) ranks from 1 on of the values when value i is there `weights_RN[r, i]` times; ties share their mean."""
    order_N = np.argsort(values_N, kind="stable")
    sorted_N = values_N[order_N]
    starts_G = np.flatnonzero(np.append(True, sorted_N[1:] != sorted_N[:-1]))
    sizes_RG = np.add.reduceat(weights_RN[:, order_N], starts_G, axis=1)
    ranks_RG = np.cumsum(sizes_RG, axis=1) - (sizes_RG - 1) / 2
    ranks_RN = np.empty((len(weights_RN), len(values_N)))
    ranks_RN[:, order_N] = np.repeat(ranks_RG, np.diff(np.append(starts_G, len(values_N))), axis=1)
    return ranks_RN
