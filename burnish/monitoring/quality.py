"""Whether a model is still as good as it was: measured where rows have labels, estimated where they have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.evaluation.metrics.resampling import Array, cells, draws, percentile_interval, resampled
from burnish.monitoring.two_sample import PERMUTATIONS
from burnish.types import Metric

RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Fall:
    """How much worse a metric is on new rows.

    Attributes:
        before, after: its value on the reference and on the new rows.
        share: by which share of its value it got worse, below 0 when it got better.
        low, high: 95 % interval of that share.
        p_value: chance of such a fall when nothing has changed, one-sided.
    """

    metric: str
    before: float
    after: float
    share: float
    low: float
    high: float
    p_value: float


def measured_fall(
    metric: Metric,
    reference: tuple[Sequence[Any], Sequence[Any]],
    new: tuple[Sequence[Any], Sequence[Any]],
    *,
    seed: int,
    permutations: int = PERMUTATIONS,
) -> Fall | None:
    """The fall of a metric from one set of labelled rows to another; None where its value there is 0.

    Args:
        metric: empty.
        reference, new: what is right and what the model says; other rows in each, so nothing is paired.

    The p-value calls as many of all rows new in every way; the interval resamples both sets, each by itself.
    Rows with the same label and prediction are one cell: see `evaluation.metrics.resampling`.
    """
    pairs, counts = cells([*reference[0], *new[0]], [*reference[1], *new[1]])
    right, said = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    number = {pair: index for index, pair in enumerate(pairs)}
    own = np.bincount([number[pair] for pair in zip(*new, strict=True)], minlength=len(pairs))
    sign = -1.0 if metric.higher_is_better else 1.0

    def values(weights: Array) -> Array:
        return resampled(metric, right, said, weights)

    before, after = (float(values(part[None])[0]) for part in (counts - own, own))
    if before == 0:
        return None

    def worse(earlier: Array, later: Array) -> Array:
        found: Array = sign * (later - earlier) / np.where(earlier == 0, np.nan, np.abs(earlier))
        return found

    share = sign * (after - before) / abs(before)
    random = np.random.default_rng(seed)
    shuffled = random.multivariate_hypergeometric(counts, int(own.sum()), size=permutations, method="marginals")
    by_chance = sign * (values(shuffled) - values(counts - shuffled))
    at_least = int((by_chance >= sign * (after - before) - 1e-12).sum())
    earlier = np.concatenate([values(block) for block in draws(counts - own, RESAMPLES, seed)])
    later = np.concatenate([values(block) for block in draws(own, RESAMPLES, seed + 1)])
    drawn = worse(earlier, later)
    low, high = percentile_interval(drawn[np.isfinite(drawn)])
    return Fall(metric.name, before, after, share, low, high, (1 + at_least) / (1 + permutations))


@dataclass(frozen=True, slots=True)
class Estimate:
    """The share of right answers that is to be expected without labels, with a 95 % interval."""

    before: float
    value: float
    low: float
    high: float


def estimated_accuracy(
    reference_confidences_M: Array, right_M: Array, new_confidences_N: Array, *, seed: int
) -> Estimate | None:
    """The expected accuracy on rows without labels, by how sure the model is; None where it erred nowhere.

    A threshold is put where the share of reference rows below it is the share of wrong ones; the estimate is the
    share of new rows above it. It holds where the model is as sure of its errors as it was: it may be off when new
    rows mean something else by the same words. The interval resamples both sets of rows.

    Source: Garg et al. 2022, arXiv:2201.04234, average thresholded confidence (ATC), eq. 2, on the largest probability.
    """
    confidences, right = np.asarray(reference_confidences_M, float), np.asarray(right_M, bool)
    if right.all():
        return None

    def estimate(confidences_M: Array, right_M: Array, new_N: Array) -> float:
        ordered = np.sort(confidences_M)
        wrong = int((~right_M).sum())
        if wrong == len(ordered):
            return 0.0
        return float((new_N >= ordered[wrong]).mean())

    random = np.random.default_rng(seed)
    drawn = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        rows = random.integers(len(confidences), size=len(confidences))
        new_rows = random.integers(len(new_confidences_N), size=len(new_confidences_N))
        drawn[index] = estimate(confidences[rows], right[rows], new_confidences_N[new_rows])
    low, high = percentile_interval(drawn)
    value = estimate(confidences, right, new_confidences_N)
    return Estimate(float(right.mean()), value, min(low, value), max(high, value))
