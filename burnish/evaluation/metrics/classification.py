"""Accuracy, macro-F1, per-class figures and the confusion matrix of a classifier.

Shapes: N rows or distinct kinds of rows, R resamples, C classes.

Macro-F1 is the mean over the label set of the task. A class of that set which neither a reference nor a prediction
of the test rows names has F1 0 and lowers the mean, as in scikit-learn's `f1_score(labels=..., zero_division=0)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from burnish.evaluation.metrics.resampling import Array, bias_corrected_interval, draws, wilson_interval
from burnish.types import MetricValue, Row

RESAMPLES = 2000  # of the interval a metric gives by itself
SEED = 0


class Accuracy:
    """Share of rows whose predicted label is the reference; interval: Wilson."""

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self.right = 0
        self.n = 0

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        pairs = zip(predictions, references, strict=True)
        self.right += sum(prediction["label"] == reference["label"] for prediction, reference in pairs)
        self.n += len(references)

    def merge(self, other: Self) -> None:
        self.right += other.right
        self.n += other.n

    def compute(self) -> MetricValue:
        return _share(self.name, self.right, self.n)

    def weighted(self, references: Sequence[str], predictions: Sequence[str], weights_RN: Array) -> Array:
        right_N = np.array([r == p for r, p in zip(references, predictions, strict=True)], dtype=np.float64)
        return np.asarray(weights_RN @ right_N / weights_RN.sum(axis=1))


class MacroF1:
    """Mean of the F1 of every class, each class counting the same; interval: bias-corrected bootstrap over rows.

    Args:
        labels: the label set of the task; without it, the labels seen in references and predictions.
        resamples: bootstrap resamples of the interval.
    """

    name: ClassVar[str] = "macro-f1"
    higher_is_better: ClassVar[bool] = True

    def __init__(self, labels: Sequence[str] = (), resamples: int = RESAMPLES) -> None:
        self.labels = tuple(labels)
        self.resamples = resamples
        self.counts: Counter[tuple[str, str]] = Counter()  # (reference, prediction) -> rows

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        pairs = zip(references, predictions, strict=True)
        self.counts.update((reference["label"], prediction["label"]) for reference, prediction in pairs)

    def merge(self, other: Self) -> None:
        self.counts.update(other.counts)

    def compute(self) -> MetricValue:
        if not self.counts:
            return MetricValue(self.name, 0.0, 0)
        rows = sorted(self.counts)
        references, predictions = [row[0] for row in rows], [row[1] for row in rows]
        counts_N = np.array([self.counts[row] for row in rows], dtype=np.int64)
        value = float(self.weighted(references, predictions, counts_N[None])[0])
        blocks = draws(counts_N, self.resamples, SEED)
        values_R = np.concatenate([self.weighted(references, predictions, weights_RN) for weights_RN in blocks])
        low, high = bias_corrected_interval(values_R, value)
        n, right = int(counts_N.sum()), sum(self.counts[row] for row in rows if row[0] == row[1])
        # When every row is right, or none, all resamples are alike: what is left to know depends on n alone.
        if right == n:
            low = value * wilson_interval(n, n)[0]
        elif right == 0:
            high = wilson_interval(0, n)[1]
        return MetricValue(self.name, value, n, low, high)

    def weighted(self, references: Sequence[str], predictions: Sequence[str], weights_RN: Array) -> Array:
        """Macro-F1 under each weighting, (R,).

        A class that a resample happens to miss says nothing about the model, so that resample's mean is over the
        other classes. Counting it as 0 would pull the interval of a task with small classes below its own value.
        """
        labels = self.labels or tuple(sorted({*references, *predictions}))
        index = {label: c for c, label in enumerate(labels)}
        # A label outside the label set belongs to no class: it can be a miss of another class, never a class itself.
        reference_N = np.array([index.get(label, -1) for label in references])
        prediction_N = np.array([index.get(label, -1) for label in predictions])
        right_N = np.where(reference_N == prediction_N, reference_N, -1)
        right_RC, support_RC, predicted_RC = (
            _sum_by_class(weights_RN, class_N, len(labels)) for class_N in (right_N, reference_N, prediction_N)
        )
        named_RC = support_RC + predicted_RC  # 2 TP + FP + FN
        f1_RC = 2 * right_RC / np.maximum(1, named_RC)
        named_C = np.isin(np.arange(len(labels)), [reference_N, prediction_N])
        missed_R = ((named_RC == 0) & named_C).sum(axis=1)
        return np.asarray(f1_RC.sum(axis=1) / np.maximum(1, len(labels) - missed_R))


def _sum_by_class(weights_RN: Array, class_N: Array, class_count: int) -> Array:
    """Weights summed over the rows of each class, (R, C); rows of class -1 are left out."""
    from scipy.sparse import csr_matrix

    rows = np.flatnonzero(class_N >= 0)
    indicator_CN = csr_matrix((np.ones(len(rows)), (class_N[rows], rows)), shape=(class_count, len(class_N)))
    return np.asarray((indicator_CN @ weights_RN.T).T)


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Precision, recall and F1 of one class; each with its own n: rows given the class, rows that have it, either."""

    precision: MetricValue
    recall: MetricValue
    f1: MetricValue
    support: int

    def as_dict(self) -> dict[str, Any]:
        figures = {value.name: value.as_dict() for value in (self.precision, self.recall, self.f1)}
        return {**figures, "support": self.support}


def class_figures(
    references: Sequence[str], predictions: Sequence[str], labels: Sequence[str]
) -> dict[str, ClassFigures]:
    """Precision, recall and F1 of every class of `labels`, with Wilson intervals.

    A share of no rows is 0 without an interval: precision of a class never predicted, recall of a class without rows.
    """
    kinds = Counter(zip(references, predictions, strict=True))
    support, predicted = Counter(references), Counter(predictions)
    return {label: figures_of(kinds[label, label], predicted[label], support[label]) for label in labels}


def figures_of(right: int, found: int, wanted: int) -> ClassFigures:
    """Of `found` things said to be of a class, and `wanted` that are, `right` in both."""
    return ClassFigures(
        precision=_share("precision", right, found),
        recall=_share("recall", right, wanted),
        f1=_f1(right, wanted + found - right),
        support=wanted,
    )


def _share(name: str, successes: int, n: int) -> MetricValue:
    return MetricValue(name, successes / n, n, *wilson_interval(successes, n)) if n else MetricValue(name, 0.0, 0)


def _f1(right: int, n: int) -> MetricValue:
    """F1 of a class that n rows name, as reference, prediction or both, `right` of them as both.

    F1 = 2s / (1 + s) with s = right / n rises with s, so the bounds of the share s are the bounds of F1.
    """
    share = _share("f1", right, n)
    value, low, high = (None if s is None else 2 * s / (1 + s) for s in (share.value, share.low, share.high))
    return MetricValue("f1", value or 0.0, n, low, high)


def confusion_matrix(references: Sequence[str], predictions: Sequence[str], labels: Sequence[str]) -> Array:
    """Rows per reference (first axis) and prediction (second axis), (C, C) int64, in the order of `labels`."""
    index = {label: c for c, label in enumerate(labels)}
    matrix_CC = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for reference, prediction in zip(references, predictions, strict=True):
        matrix_CC[index[reference], index[prediction]] += 1
    return matrix_CC
