"""The metrics by name: burnish's own, and those that installed packages offer under "burnish.metrics"."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from burnish.errors import RecipeError, nearest
from burnish.evaluation.metrics.answers import ANSWER_METRICS
from burnish.evaluation.metrics.classification import Accuracy, MacroF1
from burnish.evaluation.metrics.correlation import Spearman
from burnish.evaluation.metrics.label_sets import LABEL_SET_METRICS
from burnish.evaluation.metrics.probabilities import PROBABILITY_METRICS
from burnish.evaluation.metrics.regression import NUMBER_METRICS
from burnish.evaluation.metrics.retrieval import RETRIEVAL_METRICS
from burnish.evaluation.metrics.spans import SPAN_METRICS
from burnish.evaluation.metrics.tagging import TAGGING_METRICS
from burnish.evaluation.metrics.texts import TEXT_METRICS
from burnish.types import Metric

ENTRY_POINTS = "burnish.metrics"
LABEL_METRICS: dict[str, type[Metric]] = {metric.name: metric for metric in (Accuracy, MacroF1)}
_OTHERS: tuple[type[Metric], ...] = (
    *(*ANSWER_METRICS, *TAGGING_METRICS, *LABEL_SET_METRICS, *SPAN_METRICS, *TEXT_METRICS),
    *(*PROBABILITY_METRICS, *NUMBER_METRICS, *RETRIEVAL_METRICS, Spearman),
)
METRICS: dict[str, type[Metric]] = LABEL_METRICS | {metric.name: metric for metric in _OTHERS}
OURS = frozenset(METRICS)  # without those that a caller registers
IMBALANCE = 3.0  # largest over smallest class beyond which accuracy hides the small classes


def register_metric(metric: type[Metric]) -> None:
    """Makes a caller's own metric of labels known under its name, for this process."""
    LABEL_METRICS[metric.name] = METRICS[metric.name] = metric


def find_metric(name: str) -> type[Metric]:
    """The metric class called `name`; a package's metric is imported only when it is asked for.

    Raises:
        RecipeError: [recipe/unknown-metric] when neither burnish nor an installed package has it.
    """
    if name in METRICS:
        return METRICS[name]
    offered = entry_points(group=ENTRY_POINTS)
    for entry in offered.select(name=name):
        metric: type[Metric] = entry.load()
        return metric
    known = sorted({*METRICS, *offered.names})
    close = nearest(name, known) or "accuracy"
    raise RecipeError(
        "recipe/unknown-metric",
        f'"{name}" is not a metric',
        where="evaluation.metric",
        known=known,
        hint=f"write `evaluation: {{metric: {close}}}`",
    )


def create_metric(name: str, labels: Sequence[str]) -> Metric:
    """An empty metric; one whose constructor takes `labels` is given the label set of the task."""
    metric = find_metric(name)
    if "labels" in inspect.signature(metric).parameters:
        return metric(labels=labels)  # type: ignore[call-arg]  # the protocol says nothing about constructors
    return metric()


def default_metric(train_label_counts: Mapping[str, int]) -> str:
    """Accuracy, or macro-F1 when the largest class is over three times the smallest.

    >>> default_metric({"refund": 90, "cancel": 30}), default_metric({"refund": 91, "cancel": 30})
    ('accuracy', 'macro-f1')
    """
    counts = train_label_counts.values()
    return MacroF1.name if max(counts) > IMBALANCE * min(counts) else Accuracy.name
