"""Intervals of metrics: the bootstrap over distinct kinds of rows, and those of shares, which need no resampling.

Shapes: N rows or distinct kinds of rows ("cells"), R resamples.

A metric of labels cannot tell two rows apart that have the same reference and the same predictions. Drawing n rows
with replacement is therefore the same as drawing how often each distinct kind of row appears, a multinomial, and
the cost depends on the number of kinds and not on the number of rows.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from burnish.types import Metric, MetricValue

Array = np.ndarray[Any, Any]

CELLS_AT_ONCE = 4_000_000  # weights held in memory at once: 32 MB of float64
Z_95 = 1.959963984540054  # standard normal quantile of 0.975
HALVINGS = 50  # of an interval of width 2, to the last bit of a float


@runtime_checkable
class Resampleable(Protocol):
    """A metric that knows its value on many weightings of the same rows at once."""

    def weighted(self, references: Sequence[Any], predictions: Sequence[Any], weights_RN: Array) -> Array:
        """The metric when row i counts `weights_RN[r, i]` times, (R,) float64."""
        ...


def cells(*columns: Sequence[Any]) -> tuple[list[tuple[Any, ...]], Array]:
    """The distinct rows of parallel columns, sorted, and how often each appears, (N,) int64.

    >>> cells(["a", "b", "a"], ["a", "a", "a"])
    ([('a', 'a'), ('b', 'a')], array([2, 1]))
    """
    counted = sorted(Counter(zip(*columns, strict=True)).items())
    return [row for row, _ in counted], np.array([count for _, count in counted], dtype=np.int64)


def draws(counts_N: Array, resamples: int, seed: int) -> Iterator[Array]:
    """`resamples` bootstrap weightings of the cells, in blocks (R', N) that fit into memory.

    Every row of a block sums to the number of rows. The same counts and seed give the same draws.
    """
    generator = np.random.default_rng(seed)
    total = int(counts_N.sum())
    block = max(1, CELLS_AT_ONCE // max(1, len(counts_N)))
    for start in range(0, resamples, block):
        yield generator.multinomial(total, counts_N / total, size=min(block, resamples - start))


def swaps(counts_N: Array, resamples: int, seed: int) -> Iterator[Array]:
    """How many rows of each cell change places, each with probability one half, in blocks (R', N) as `draws`."""
    generator = np.random.default_rng(seed)
    block = max(1, CELLS_AT_ONCE // max(1, 2 * len(counts_N)))
    for start in range(0, resamples, block):
        yield generator.binomial(counts_N, 0.5, size=(min(block, resamples - start), len(counts_N)))


def resampled(metric: Metric, references: Sequence[Any], predictions: Sequence[Any], weights_RN: Array) -> Array:
    """Values of `metric` under R weightings of the same N rows, (R,) float64.

    A metric with a `weighted` method answers for all weightings at once. Any other is recomputed on the repeated
    rows, each time on a copy of the empty `metric` that is passed in.
    """
    if isinstance(metric, Resampleable):
        return metric.weighted(references, predictions, weights_RN)
    values = np.empty(len(weights_RN))
    for r, weights_N in enumerate(weights_RN):
        rows = np.repeat(np.arange(len(references)), weights_N.astype(np.int64)).tolist()
        values[r] = value_of(metric, [references[i] for i in rows], [predictions[i] for i in rows])
    return values


def value_of(metric: Metric, references: Sequence[Any], predictions: Sequence[Any]) -> float:
    """The metric's value on these labels; `metric` is empty and stays so."""
    if isinstance(metric, Resampleable) and references:  # without the interval, which may cost a bootstrap
        rows, counts_N = cells(references, predictions)
        return float(metric.weighted([row[0] for row in rows], [row[1] for row in rows], counts_N[None])[0])
    return float(measured(metric, references, predictions).value)


def measured(metric: Metric, references: Sequence[Any], predictions: Sequence[Any]) -> MetricValue:
    """The metric's value on these labels with its n and interval; `metric` is empty and stays so."""
    fresh = copy.deepcopy(metric)
    fresh.update([{"label": label} for label in predictions], [{"label": label} for label in references])
    return fresh.compute()


def percentile_interval(values_R: Array) -> tuple[float, float]:
    """The 95 % percentile interval of resampled values."""
    return _between(values_R, 0.025)


def expanded_interval(values_R: Array, *, rows: int, differing: int) -> tuple[float, float]:
    """The 95 % percentile interval of a resampled paired difference, expanded for few rows.

    Resamples of n rows vary less than samples do, and their percentiles know nothing of the t distribution: the
    interval is taken as far out as t is, times sqrt(n / (n - 1)). Its degrees of freedom are those of the variance of
    the rows' differences, 2 n / (kurtosis - 1): n - 1 where they are normal, and 2 m where all but m are zero and
    those are of one size. The fewer of the two are taken.

    Args:
        rows: n, all of them.
        differing: m, that the two models answer differently.

    Source: Hesterberg 2015, The American Statistician 69:371-386, section 4.6, for the expansion; Satterthwaite 1946,
    Biometrics Bulletin 2:110-114, for degrees of freedom that match the variance of a variance.
    """
    from scipy.special import ndtr, stdtrit  # normal distribution function, quantile of Student's t

    n = max(2, rows)
    freedom = max(1, min(n - 1, 2 * differing))
    return _between(values_R, float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(freedom, 0.975))))


def _between(values_R: Array, tail: float) -> tuple[float, float]:
    low, high = np.quantile(values_R, [tail, 1 - tail], method="weibull")  # which meets its level for any R
    return float(low), float(high)


def bias_corrected_interval(values_R: Array, value: float) -> tuple[float, float]:
    """The 95 % bias-corrected percentile interval of `value`.

    Resampled macro-F1 sits below its own estimate when classes are small; the plain percentiles would then miss the
    truth far more often than one time in twenty. The correction moves the percentiles by how far the estimate is
    from the median of the resamples.

    Source: Efron 1987, Better Bootstrap Confidence Intervals, JASA 82:171-185, section 2 (acceleration 0).
    """
    from scipy.special import ndtr, ndtri  # normal distribution function and its inverse

    below = float((values_R < value).mean() + (values_R == value).mean() / 2)
    shift = 2 * float(ndtri(np.clip(below, 0.5 / len(values_R), 1 - 0.5 / len(values_R))))
    low, high = np.quantile(values_R, ndtr([shift - Z_95, shift + Z_95]))
    return min(value, float(low)), max(value, float(high))


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of n independent rows, n > 0.

    Source: Wilson 1927, JASA 22:209-212. Unlike the normal approximation it stays within 0..1 and has a width at
    0 and at n successes.

    >>> [round(bound, 4) for bound in wilson_interval(8, 10)]
    [0.4902, 0.9433]
    """
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and n successes one bound is exact; floating point would miss it by an ulp.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def tango_interval(wins: Array | int, losses: Array | int, n: Array | int) -> tuple[Array, Array]:
    """The 95 % score interval of the difference of two shares of the same n rows, (wins - losses) / n.

    A bootstrap of few rows that differ is too narrow, and of none it is a point. This interval has a width even then,
    and it holds 0 just when McNemar's test without continuity correction finds nothing.

    Args:
        wins: rows that only the first is right on; numbers or arrays of one shape.
        losses: rows that only the second is right on.
        n: all rows, > 0.

    Returns:
        Both ends, in -1..1: all differences d with |wins - losses - n d| <= 1.96 sqrt(n (2 q(d) + d (1 - d))), where
        q(d) is the likeliest share of losses when the difference is d.

    Source: Tango 1998, Statistics in Medicine 17:891-908, equations 8 to 11; recommended by Fagerland, Lydersen and
    Laake 2014, Statistics in Medicine 33:2850-2875.

    >>> [round(float(end), 4) for end in tango_interval(12, 2, 100)]
    [0.031, 0.1819]
    """
    b, c, rows = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (wins, losses, n)))

    def too_far(d: Array) -> Array:
        linear = (2 * rows - b + c) * d - b - c
        root = np.sqrt(np.maximum(linear**2 + 8 * rows * c * d * (1 - d), 0.0))
        variance = rows * (2 * (root - linear) / (4 * rows) + d * (1 - d))
        return np.asarray(np.abs(b - c - rows * d) > Z_95 * np.sqrt(np.maximum(variance, 0.0)))

    value = (b - c) / rows
    ends = []
    for end in (-1.0, 1.0):
        outside, inside = np.full_like(value, end), value.copy()
        for _ in range(HALVINGS):
            middle = (outside + inside) / 2
            far = too_far(middle)
            outside, inside = np.where(far, middle, outside), np.where(far, inside, middle)
        ends.append(inside)
    return ends[0], ends[1]
