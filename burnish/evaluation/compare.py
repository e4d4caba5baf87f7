"""Two models on the same rows: a paired interval of the difference, and the test of the metric that fits it.

Shapes: N distinct kinds of rows, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from burnish.evaluation.metrics.resampling import (
    Array,
    cells,
    draws,
    expanded_interval,
    resampled,
    swaps,
    tango_interval,
)
from burnish.evaluation.wording import is_share
from burnish.types import Metric

# Metrics that are the share of the rows that are right: a difference of two of them is one of counts of rows.
RIGHT_OR_WRONG = (
    *("accuracy", "exact-match", "final-number", "json-match", "reward-accuracy"),
    *("subset-accuracy", "answer-exact", "recall@1", "recall@10"),
)
Test = Literal["McNemar", "permutation"]
TIE = 1e-12  # relative: differences that are equal but for the order of their sums


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
    """How much better tuned is than the arm: the difference, or its negative where lower is better.

    Its interval is Tango's for a share of rows that are right, and the bootstrap's for any other metric. Two models
    that answer every row alike are not known to do so on the next one: of a metric in 0..1 they get the interval of
    a share of as many rows.
    """
    n = len(references)
    if metric.name in RIGHT_OR_WRONG:
        wins, losses = row_wins(metric, references, tuned, arm)
        low, high = tango_interval(wins, losses, n)
        return Difference((wins - losses) / n, float(low), float(high), n)
    first, second = (tuned, arm) if metric.higher_is_better else (arm, tuned)
    found = paired_bootstrap(metric, references, first, second, resamples=resamples, seed=seed)
    if found.low == found.high and is_share(metric.name):
        low, high = tango_interval(0, 0, n)
        return Difference(found.value, found.value + float(low), found.value + float(high), n)
    return found


def significance(
    metric: Metric, references: Sequence[Any], tuned: Sequence[Any], arm: Sequence[Any], *, resamples: int, seed: int
) -> tuple[float, Test]:
    """The two-sided p-value of the difference, and the test that gives it.

    McNemar's exact test of a share of rows that are right; of any other metric the permutation test.
    """
    if metric.name in RIGHT_OR_WRONG:
        return sign_test(*row_wins(metric, references, tuned, arm)), "McNemar"
    return permutation_test(metric, references, tuned, arm, resamples=resamples, seed=seed), "permutation"


def paired_bootstrap(
    metric: Metric, references: Sequence[Any], a: Sequence[Any], b: Sequence[Any], *, resamples: int, seed: int
) -> Difference:
    """metric(a) - metric(b) with the percentile interval of rows resampled together with both predictions.

    The interval is expanded as it needs to be for so many rows, of which so many are answered differently.

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
    values_R = np.concatenate([difference(block) for block in draws(counts_N, resamples, seed)])
    differ_N = np.array([x != y for x, y in zip(first, second, strict=True)])
    low, high = expanded_interval(values_R, rows=len(references), differing=int(counts_N @ differ_N))
    return Difference(value, min(low, value), max(high, value), len(references))


def permutation_test(
    metric: Metric, references: Sequence[Any], a: Sequence[Any], b: Sequence[Any], *, resamples: int, seed: int
) -> float:
    """Two-sided probability of a difference at least this large if it did not matter which model gave which answer.

    Each time the two answers to every row change places with probability one half. The p-value counts the difference
    that was found as one of those drawn, so it is never 0: it is 1 / (resamples + 1) at least, and 1 for answers
    that are alike.

    Args:
        resamples: draws.
        seed: of the draws; the result does not depend on the order of the rows.

    Source: Noreen 1989, Computer Intensive Methods for Testing Hypotheses, chapter 2 (approximate randomization);
    Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9:39, for the added one.
    Cost: as `paired_bootstrap` on twice as many kinds of rows.
    """
    rows, counts_N = cells(references, a, b)
    truth, first, second = ([row[column] for row in rows] for column in range(3))

    def difference(swapped_RN: Array) -> Array:
        as_given_RN = counts_N - swapped_RN
        weights = (np.hstack([as_given_RN, swapped_RN]), np.hstack([swapped_RN, as_given_RN]))
        one, other = (resampled(metric, truth * 2, first + second, weights_RM) for weights_RM in weights)
        return one - other

    found = abs(float(difference(np.zeros_like(counts_N)[None])[0]))
    differ_N = np.array([x != y for x, y in zip(first, second, strict=True)])
    drawn = np.concatenate([difference(block) for block in swaps(counts_N * differ_N, resamples, seed)])
    return float((1 + (np.abs(drawn) >= found - TIE * max(found, 1.0)).sum()) / (1 + resamples))


def compared(
    metrics: Sequence[Metric],
    references: Sequence[Any],
    tuned: Sequence[Any],
    arm: Sequence[Any],
    *,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """What each of several metrics says of the same two models, as it is written to JSON.

    Returns:
        {"metric", "difference", "low", "high", "n", "p_value", "test", "p_holm"} of each metric: how much better tuned
        is, the p-value of this metric alone, and the one corrected for being one of several.
    """
    found: list[dict[str, Any]] = []
    for metric in metrics:
        gain = paired_gain(metric, references, tuned, arm, resamples=resamples, seed=seed)
        p_value, test = significance(metric, references, tuned, arm, resamples=resamples, seed=seed)
        ends = {"low": gain.low, "high": gain.high, "n": gain.n}
        found.append({"metric": metric.name, "difference": gain.value, **ends, "p_value": p_value, "test": test})
    corrected = holm([entry["p_value"] for entry in found])
    return [{**entry, "p_holm": p_holm} for entry, p_holm in zip(found, corrected, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for being several: with each under 0.05, all of them are meant at 95 %.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


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
