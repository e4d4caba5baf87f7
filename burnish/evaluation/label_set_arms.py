"""The arms that give each row any number of labels without fine-tuning. Shapes: N rows, D features, C labels."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from burnish.evaluation.arms import ArmResult
from burnish.evaluation.metrics.resampling import Array, value_of
from burnish.types import Metric

Labels = tuple[str, ...]
STRENGTHS = (1.0, 10.0, 100.0)  # inverse strengths of the L2 term


def most_frequent_set(train: Sequence[Labels], n_validation: int, n_test: int) -> ArmResult:
    """Always the labels that occur together most often; of equally frequent ones the first in alphabetical order."""
    labels, count = min(Counter(train).items(), key=lambda item: (-item[1], item[0]))
    settings = {"labels": list(labels), "train_rows": count}
    return ArmResult("majority", [labels] * n_validation, [labels] * n_test, settings)


def one_vs_rest(
    name: str,
    train: Any,
    train_labels: Sequence[Labels],
    validation: Any,
    validation_labels: Sequence[Labels],
    test: Any,
    metric: Metric,
) -> ArmResult:
    """A logistic regression for each label; validation chooses the L2 term, the same for all of them.

    Args:
        name: of the arm, by where its features come from.
        train, validation, test: (N, D) features, dense or sparse.
        metric: an empty one, the one that decides.
    """
    started = time.perf_counter()
    names = sorted({label for labels in train_labels for label in labels})
    targets_NC = np.array([[label in labels for label in names] for labels in train_labels])
    best_score, best = -np.inf, ArmResult(name, [], [])
    for strength in STRENGTHS:
        answers = [_sets(scores, names) for scores in _scores(train, targets_NC, strength, validation, test)]
        score = value_of(metric, validation_labels, answers[0])
        if score > best_score:
            settings = {"C": strength, "columns": int(train.shape[1])}
            best_score, best = score, ArmResult(name, answers[0], answers[1], settings)
    seconds = time.perf_counter() - started
    return ArmResult(name, best.validation_predictions, best.test_predictions, best.settings, seconds)


def _scores(train: Any, targets_NC: Array, strength: float, *others: Any) -> list[Array]:
    """(N, C) for each of the others, above 0 where a label is likelier than not; a label of every row stays it."""
    from sklearn.linear_model import LogisticRegression

    found = [np.full((part.shape[0], targets_NC.shape[1]), 1.0) for part in others]
    for c in range(targets_NC.shape[1]):
        if targets_NC[:, c].all():
            continue
        model = LogisticRegression(C=strength, max_iter=1_000).fit(train, targets_NC[:, c])
        for scores_NC, part in zip(found, others, strict=True):
            scores_NC[:, c] = model.decision_function(part)
    return found


def _sets(scores_NC: Array, names: Sequence[str]) -> list[Labels]:
    return [tuple(name for name, score in zip(names, own, strict=True) if score > 0) for own in scores_NC]
