"""Two models on the same rows: a paired interval of the difference, and the exact test of who is right more often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class RowScore(Protocol):
    """A metric that says how good one answer is; higher is better where the metric's value is."""

    def score(self, reference: Any, prediction: Any) -> float: ...


@runtime_checkable
class RowWins(Protocol):
    """A metric of all rows together that says of two models' answers which rows speak for which."""

    def wins(self, references: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> tuple[int, int]: ...


def paired_gain(
    metric: Metric, references: Sequence[Any], tuned: Sequence[Any], arm: Sequence[Any], *, resamples: int, seed: int
) -> Difference:
    """How much better tuned is than the arm: the difference, or its negative where lower is better."""
    first, second = (tuned, arm) if metric.higher_is_better else (arm, tuned)
    return paired_bootstrap(metric, references, first, second, resamples=resamples, seed=seed)


def paired_bootstrap(
    metric: Metric, references: Sequence[Any], a: Sequence[Any], b: Sequence[Any], *, resamples: int, seed: int
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


def row_wins(metric: Metric, references: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> tuple[int, int]:
    """Rows that a answers better than b, and worse: by the metric's score of a row, else by who is right."""
    if isinstance(metric, RowWins):
        return metric.wins(references, a, b)
    rows = zip(references, a, b, strict=True)
    if isinstance(metric, RowScore):
        sign = 1.0 if metric.higher_is_better else -1.0
        gains = [sign * (metric.score(reference, x) - metric.score(reference, y)) for reference, x, y in rows]
    else:
        gains = [float(x == reference) - float(y == reference) for reference, x, y in rows]
    return sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact probability of so uneven wins and losses between equals; 1.0 without any.

    Of right and wrong answers it is McNemar's test: the binomial test on the rows that one of two models gets right.

    Source: McNemar 1947, Psychometrika 12:153-157, in its exact form.

    >>> sign_test(6, 0)
    0.03125
    """
    from scipy.special import bdtr  # distribution function of the binomial

    if wins + losses == 0:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(wins, losses), wins + losses, 0.5)))
