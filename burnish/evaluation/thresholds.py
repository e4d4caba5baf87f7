"""What is left, and how good it is, when a classifier may say that it is unsure.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from burnish.evaluation.metrics.resampling import Array, wilson_interval

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
FEWEST = 20  # validation rows above a threshold that may be chosen


def answered(threshold: float, sure_N: Array, right_N: Array) -> dict[str, Any]:
    """{"threshold", "n", "coverage", "accuracy", "low", "high"} of the rows that are at least so sure.

    Args:
        sure_N: probability of each row's answer.
        right_N: whether it is right.
    """
    kept = sure_N >= threshold
    n, hits = int(kept.sum()), int(right_N[kept].sum())
    found: dict[str, Any] = {"threshold": threshold, "n": n, "coverage": n / len(sure_N)}
    low, high = wilson_interval(hits, n) if n else (None, None)
    return found | {"accuracy": hits / n if n else None, "low": low, "high": high}


def threshold_for(min_accuracy: float, sure_N: Array, right_N: Array) -> float | None:
    """The lowest threshold from which the answered rows are right often enough; None where there is none.

    Rows that are equally sure are answered together. At least `FEWEST` rows have to be answered.
    """
    order = np.argsort(-sure_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(sure_N[order])), len(order) - 1)
    answered_T = ends + 1
    share_T = np.cumsum(right_N[order])[ends] / answered_T
    fitting = np.flatnonzero((share_T >= min_accuracy) & (answered_T >= FEWEST))
    return float(sure_N[order][ends[fitting[-1]]]) if len(fitting) else None


def judge_confidence(
    test: tuple[Array, Array],
    validation: tuple[Array, Array],
    min_accuracy: float | None,
) -> dict[str, Any]:
    """{"n", "rows": a table of thresholds on the test rows, "target"}; the target's threshold is chosen on validation.

    Args:
        test, validation: how sure each row is, and whether it is right.
        min_accuracy: `evaluation.min_accuracy`.
    """
    found: dict[str, Any] = {"n": len(test[0]), "rows": [answered(threshold, *test) for threshold in THRESHOLDS]}
    if min_accuracy is not None:
        threshold = threshold_for(min_accuracy, *validation)
        found["target"] = {"min_accuracy": min_accuracy, "threshold": threshold, "validation_rows": len(validation[0])}
        if threshold is not None:
            found["target"] |= {"validation": answered(threshold, *validation), "test": answered(threshold, *test)}
    return found


def sureness(labels: Sequence[str], references: Sequence[str], probabilities_NC: Array) -> tuple[Array, Array]:
    """(N,) the probability of each row's likeliest label, and (N,) whether that label is right."""
    index = {label: c for c, label in enumerate(labels)}
    class_N = np.array([index[label] for label in references])
    return probabilities_NC.max(axis=1), probabilities_NC.argmax(axis=1) == class_N
