"""Two models on the same rows: a paired interval of the difference, and the exact test of who is right more often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.evaluation.metrics.resampling import cells, draws, percentile_interval, resampled
from burnish.types import Metric


@dataclass(frozen=True, slots=True)
class Difference:
    """metric(a) - metric(b) on the same n rows, in the metric's unit, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


def paired_bootstrap(
    metric: Metric, references: Sequence[str], a: Sequence[str], b: Sequence[str], *, resamples: int, seed: int
) -> Difference:
    """metric(a) - metric(b) with the percentile interval of rows resampled together with both predictions.

    Args:
        metric: an empty metric; it is not changed.
        references: N labels.
        a: N predicted labels of the first model, in the order of `references`.
        b: the same of the second.
        resamples: bootstrap resamples.
        seed: of the draws; the result does not depend on the order of the rows.

    Source: Efron and Tibshirani 1993, section 13.3; Koehn 2004, Statistical Significance Tests for Machine
    Translation Evaluation (W04-3250), for the pairing.
    Cost: O(resamples x distinct (reference, a, b)) for a metric with a `weighted` method, else `resamples`
    recomputations on all rows.
    """
    rows, counts_N = cells(references, a, b)
    truth, first, second = ([row[column] for row in rows] for column in range(3))

    def difference(weights_RN: np.ndarray) -> np.ndarray:
        return resampled(metric, truth, first, weights_RN) - resampled(metric, truth, second, weights_RN)

    value = float(difference(counts_N[None])[0])
    low, high = percentile_interval(np.concatenate([difference(block) for block in draws(counts_N, resamples, seed)]))
    return Difference(value, min(low, value), max(high, value), len(references))


def discordant(references: Sequence[str], a: Sequence[str], b: Sequence[str]) -> tuple[int, int]:
    """Rows that only a gets right, and rows that only b gets right."""
    rows = list(zip(references, a, b, strict=True))
    only_a = sum(x == reference != y for reference, x, y in rows)
    only_b = sum(y == reference != x for reference, x, y in rows)
    return only_a, only_b


def mcnemar_exact(references: Sequence[str], a: Sequence[str], b: Sequence[str]) -> float:
    """Two-sided p-value that both models are right equally often: the binomial test on the discordant rows.

    1.0 when no row is discordant.

    Source: McNemar 1947, Psychometrika 12:153-157, in its exact form.

    >>> mcnemar_exact(["x"] * 6, ["x"] * 6, ["y"] * 6)
    0.03125
    """
    from scipy.special import bdtr  # distribution function of the binomial

    only_a, only_b = discordant(references, a, b)
    return min(1.0, 2.0 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
