"""Evaluations of several folds as one: values and differences over rows that were each judged on once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation.compare import Difference
from burnish.evaluation.learning_curve import Point
from burnish.evaluation.metrics import find_metric


def pooled_arms(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Point]:
    """The value of every model over all folds, weighted by the rows that each judged on."""
    metric = evaluations[0]["metric"]
    found = {}
    for name in evaluations[0]["models"]:
        values = [evaluation["models"][name][metric] for evaluation in evaluations]
        mean = pooled([Difference(v["value"], *bounds(v), v["n"]) for v in values])
        found[name] = Point(mean.n, mean.value, mean.low, mean.high)
    return found


def bounds(value: Mapping[str, Any]) -> tuple[float, float]:
    """The interval of a metric's value; the value itself where no interval is defined."""
    low, high = value["low"], value["high"]
    return (value["value"] if low is None else low), (value["value"] if high is None else high)


def pooled(found: Sequence[Difference]) -> Difference:
    """The mean over folds of different rows, whose errors are independent: squared half-widths add up."""
    n = sum(one.n for one in found)
    value = sum(one.n * one.value for one in found) / n
    low = value - math.hypot(*(one.n * (one.value - one.low) for one in found)) / n
    high = value + math.hypot(*(one.n * (one.high - one.value) for one in found)) / n
    return Difference(value, low, high, n)


def strongest(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The arm that is best on the rows that are judged on, over all folds.

    A verdict chooses it on other rows, so that the arm has no advantage; here the few rows that choose would miss it
    too often, and an advantage of the arm errs on the side of what is cheaper.
    """
    found, metric = pooled_arms(evaluations), evaluations[0]["metric"]
    sign = 1.0 if find_metric(metric).higher_is_better else -1.0
    names: Sequence[str] = list(evaluations[0]["arms"])
    return max(names, key=lambda name: sign * found[name].value)
