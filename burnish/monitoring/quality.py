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
) -> Estimate:
    """The accuracy to be expected on rows without labels: that of the reference, plus the change of mean confidence.

    It holds where a row of the model's confidence is right as often as before. A model that is sure of what it has
    never seen hides its errors from it, so that the truth is lower. The interval resamples both sets of rows, and
    knows nothing of that.

    Args:
        right_M: whether the model's answer to each reference row is right.

    Source: Guillory et al. 2021, arXiv:2107.03315, difference of confidences (DoC), with a factor of 1. The threshold
    of Garg et al. 2022, arXiv:2201.04234, says far too little of a calibrated model when many rows become harder.
    """
    random = np.random.default_rng(seed)
    m, n = len(reference_confidences_M), len(new_confidences_N)
    surer_M = np.asarray(right_M, float) - reference_confidences_M  # how much surer it should be
    value = float(surer_M.mean() + new_confidences_N.mean())
    drawn = [
        surer_M[random.integers(m, size=m)].mean() + new_confidences_N[random.integers(n, size=n)].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = percentile_interval(np.array(drawn))
    bounded = (min(max(number, 0.0), 1.0) for number in (value, low, high))
    return Estimate(float(np.mean(right_M)), *bounded)
