"""The arms that predict numbers without fine-tuning. Shapes: N rows, D features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from burnish.evaluation.arms import ArmResult
from burnish.evaluation.metrics.resampling import Array, value_of
from burnish.types import Metric

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)  # of the L2 term, for features of norm about 1


def mean_number(train: Sequence[float], n_validation: int, n_test: int) -> ArmResult:
    """Always the mean of the training numbers."""
    mean = float(np.mean(train))
    return ArmResult("mean", [mean] * n_validation, [mean] * n_test, {"mean": mean})


def ridge(
    name: str,
    train: Any,
    train_numbers: Sequence[float],
    validation: Any,
    validation_numbers: Sequence[float],
    test: Any,
    metric: Metric,
) -> ArmResult:
    """Least squares with an L2 term that validation chooses.

    Args:
        name: of the arm, by where its features come from.
        train, validation, test: (N, D) features, dense or sparse.
        metric: an empty one, the one that decides.

    Source: Hoerl and Kennard 1970, Technometrics 12:55-67.
    """
    from sklearn.linear_model import Ridge

    started = time.perf_counter()
    sign = 1.0 if metric.higher_is_better else -1.0
    best_score, best = -np.inf, ArmResult(name, [], [])
    for strength in STRENGTHS:
        model = Ridge(alpha=strength).fit(train, np.asarray(train_numbers, np.float64))
        predictions = model.predict(validation).tolist()
        score = sign * value_of(metric, validation_numbers, predictions)
        if score > best_score:
            settings = {"l2": strength, "columns": int(train.shape[1])}
            best_score, best = score, ArmResult(name, predictions, model.predict(test).tolist(), settings)
    seconds = time.perf_counter() - started
    return ArmResult(name, best.validation_predictions, best.test_predictions, best.settings, seconds)


def from_similarity(
    name: str, train: Array, train_numbers: Sequence[float], validation: Array, test: Array
) -> ArmResult:
    """A line through one similarity per row, (N,): its order is the similarity's own, its unit that of the numbers."""
    slope, offset = np.polyfit(train, np.asarray(train_numbers, np.float64), 1) if np.ptp(train) > 0 else (0.0, 0.0)
    answers = [(slope * part + offset).tolist() for part in (validation, test)]
    return ArmResult(name, answers[0], answers[1], {"slope": float(slope), "offset": float(offset)})
