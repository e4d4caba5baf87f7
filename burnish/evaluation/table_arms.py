"""The arms that a model of a table has to beat: the mean, a linear model, and gradient-boosted trees.

Each learns from the training rows the tuned model learns from, settles its own settings on the validation rows and
never sees a test row's target. An arm's answer to a row is a tuple of probabilities, or a number.

Shapes: N rows, K numbers, M categories, I inputs of the trees, D inputs of the linear model, C classes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.data.table import FIRST_VALUE, Table
from burnish.evaluation.arms import ArmResult
from burnish.evaluation.metrics.resampling import Array, value_of
from burnish.method.probe import STRENGTHS, fit_softmax
from burnish.method.trees import FittedTrees, choose_trees
from burnish.types import Metric, Row, Split

Answers = list[Any]  # (C,) tuples, or numbers


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows of a table as the arms read them.

    Attributes:
        numbers_NK: as they are written, not a number where one is missing.
        ids_NM: of the categories.
        targets: labels, or numbers.
    """

    numbers_NK: Array  # noqa: N815  # the shape is part of the name
    ids_NM: Array  # noqa: N815
    targets: list[Any]

    @classmethod
    def of(cls, table: Table, rows: Sequence[Row]) -> TableRows:
        features = [row["features"] for row in rows]
        return cls(table.number_cells(features), table.category_ids(features), [row["target"] for row in rows])

    @property
    def inputs(self) -> Array:
        """(N, I) of the trees: the numbers, then the ids."""
        return np.concatenate([self.numbers_NK, self.ids_NM], axis=1)

    def design(self, table: Table) -> Array:
        """(N, D) of a linear model: scaled numbers, what is missing among them, and one column for each value."""
        sizes = [FIRST_VALUE + len(category.values) for category in table.categories]
        values = [np.eye(size)[ids_N] for size, ids_N in zip(sizes, self.ids_NM.T, strict=True)]
        return np.concatenate([table.scaled(self.numbers_NK), np.isnan(self.numbers_NK), *values], axis=1)


@dataclass(frozen=True, slots=True)
class TableArms:
    """What the arms of one table have in common.

    Attributes:
        parts: rows of each part of the data.
        labels: in the order of the probabilities; empty for numbers.
        metric: an empty one, the one that decides the verdict.
        class_weights: how much a training row of each label counts; empty when all count the same.
    """

    table: Table
    parts: Mapping[Split, TableRows]
    labels: Sequence[str]
    metric: Metric
    class_weights: Mapping[str, float]
    seed: int
    threads: int

    def mean(self) -> ArmResult:
        """The shares of the classes among the training rows, or their mean: what is known without any column."""
        targets = self.parts[Split.TRAIN].targets
        if self.labels:
            counts = Counter(targets)
            answer: Any = tuple(counts[label] / len(targets) for label in self.labels)
        else:
            answer = float(np.mean(targets))
        validation, test = ([answer] * len(self.parts[split].targets) for split in (Split.VALIDATION, Split.TEST))
        return ArmResult("mean", validation, test, {"train_rows": len(targets)})

    def linear(self) -> ArmResult:
        """Logistic or ridge regression on scaled numbers and one column for each value; validation chooses the L2."""
        started = time.perf_counter()
        train, validation, test = (self.parts[split].design(self.table) for split in Split)
        targets_N = self.numbered(Split.TRAIN)
        best_score, best = -np.inf, ArmResult("linear", [], [])
        fit = self._logistic(train, targets_N) if self.labels else _ridge(train, targets_N)
        for strength in STRENGTHS:
            predict = fit(strength)
            answers = as_answers(predict(validation))
            score = self.score(answers)
            if score > best_score:
                settings = {"C": strength, "columns": train.shape[1]}
                best_score, best = score, ArmResult("linear", answers, as_answers(predict(test)), settings)
        seconds = time.perf_counter() - started
        return ArmResult("linear", best.validation_predictions, best.test_predictions, best.settings, seconds)

    def fit_trees(self) -> FittedTrees:
        """Gradient-boosted trees, their settings chosen on validation."""
        train, validation = self.parts[Split.TRAIN], self.parts[Split.VALIDATION]
        numbers, inputs = train.numbers_NK.shape[1], train.inputs
        return choose_trees(
            inputs,
            self.numbered(Split.TRAIN),
            validation.inputs,
            self.numbered(Split.VALIDATION),
            lambda predictions: self.score(as_answers(predictions)),
            classes=len(self.labels),
            categorical=range(numbers, inputs.shape[1]),
            weights_N=self._weights(),
            seed=self.seed,
            threads=self.threads,
        )

    def score(self, validation_answers: Answers) -> float:
        """The deciding metric on the validation rows; higher is better."""
        value = value_of(self.metric, self.parts[Split.VALIDATION].targets, validation_answers)
        return value if self.metric.higher_is_better else -value

    def numbered(self, split: Split) -> Array:
        """(N,) class ids, or the numbers themselves."""
        targets = self.parts[split].targets
        if not self.labels:
            return np.array(targets, dtype=np.float64)
        index = {label: c for c, label in enumerate(self.labels)}
        return np.array([index[label] for label in targets])

    def _weights(self) -> Array | None:
        if not self.class_weights:
            return None
        return np.array([self.class_weights.get(label, 1.0) for label in self.parts[Split.TRAIN].targets])

    def _logistic(self, train_ND: Array, targets_N: Array) -> Callable[[float], Callable[[Array], Array]]:
        weights_C = np.array([self.class_weights.get(label, 1.0) for label in self.labels])
        state: list[tuple[Array, Array]] = [
            (np.zeros((len(self.labels), train_ND.shape[1])), np.zeros(len(self.labels)))
        ]

        def fit(strength: float) -> Callable[[Array], Array]:
            l2 = train_ND.shape[1] / (strength * len(targets_N))
            weight_CD, bias_C = state[0] = fit_softmax(train_ND, targets_N, l2, state[0], class_weights=weights_C)
            return lambda rows_ND: _softmax(rows_ND @ weight_CD.T + bias_C)

        return fit


def as_answers(predictions: Array) -> Answers:
    """(N, C) probabilities as tuples, (N,) numbers as they are."""
    return [tuple(row) for row in predictions.tolist()] if predictions.ndim == 2 else predictions.tolist()


def _ridge(train_ND: Array, targets_N: Array) -> Callable[[float], Callable[[Array], Array]]:
    """Least squares with an L2 term on the weights, the intercept free."""
    mean_D, centre = train_ND.mean(axis=0), float(targets_N.mean())
    centred_ND = train_ND - mean_D
    products_DD, toward_D = centred_ND.T @ centred_ND, centred_ND.T @ (targets_N - centre)

    def fit(strength: float) -> Callable[[Array], Array]:
        weight_D = np.linalg.solve(products_DD + np.eye(len(mean_D)) * len(mean_D) / strength, toward_D)
        return lambda rows_ND: np.asarray((rows_ND - mean_D) @ weight_D + centre)

    return fit


def _softmax(logits_NC: Array) -> Array:
    exponent_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return np.asarray(exponent_NC / exponent_NC.sum(axis=1, keepdims=True))
