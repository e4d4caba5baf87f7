"""Metrics of rows with any number of labels: answers are sorted tuples of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from burnish.evaluation.metrics.classification import ClassFigures, figures_of
from burnish.evaluation.metrics.resampling import Array
from burnish.evaluation.metrics.sums import FromSums, ratio

Labels = Sequence[str]


class MicroF1(FromSums):
    """F1 over all labels of all rows: frequent labels count more.

    >>> metric = MicroF1()
    >>> metric.update([{"label": ("angry",)}], [{"label": ("angry", "refund")}])
    >>> round(metric.compute().value, 3)
    0.667
    """

    name: ClassVar[str] = "micro-f1"

    def sums(self, reference: Labels, prediction: Labels) -> Sequence[float]:
        return len(set(reference) & set(prediction)), len(prediction), len(reference)

    def of(self, sums_RS: Array) -> Array:
        return ratio(2 * sums_RS[:, 0], sums_RS[:, 1] + sums_RS[:, 2])

    def score(self, reference: Labels, prediction: Labels) -> float:
        """Of one row: labels that are right, minus those that are made up or passed over."""
        right, found, wanted = self.sums(reference, prediction)
        return 3 * right - found - wanted


class SubsetAccuracy(FromSums):
    """Share of the rows whose labels are all right and none too many."""

    name: ClassVar[str] = "subset-accuracy"

    def sums(self, reference: Labels, prediction: Labels) -> Sequence[float]:
        return float(set(reference) == set(prediction)), 1.0

    def of(self, sums_RS: Array) -> Array:
        return ratio(sums_RS[:, 0], sums_RS[:, 1])


def label_figures(references: Sequence[Labels], predictions: Sequence[Labels]) -> Mapping[str, ClassFigures]:
    """Precision, recall and F1 of every label, with Wilson intervals."""
    right: Counter[str] = Counter()
    for reference, prediction in zip(references, predictions, strict=True):
        right.update(set(reference) & set(prediction))
    found = Counter(label for prediction in predictions for label in prediction)
    wanted = Counter(label for reference in references for label in reference)
    return {label: figures_of(right[label], found[label], wanted[label]) for label in sorted(wanted | found)}


LABEL_SET_METRICS = (MicroF1, SubsetAccuracy)
