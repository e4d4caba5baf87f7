"""Goals of a recipe, "recall[refund] >= 0.95": read, checked against the labels, and judged on the test rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.errors import RecipeError, excerpt, nearest
from burnish.evaluation.metrics import METRICS, create_metric
from burnish.evaluation.metrics.classification import ClassFigures
from burnish.evaluation.metrics.resampling import measured
from burnish.evaluation.wording import SHARES
from burnish.types import Metric, MetricValue

WHOLE = tuple(name for name in METRICS if name in SHARES)
PER_CLASS = ("precision", "recall", "f1")
KNOWN = (*WHOLE, *(f"{metric}[LABEL]" for metric in PER_CLASS))
EXAMPLE = 'write `evaluation: {goals: ["macro-f1 >= 0.90", "recall[refund] >= 0.95"]}`'

# The label may itself hold brackets and signs: it ends at the last "]" before ">=".
PATTERN = re.compile(r"\s*(?P<metric>[a-z0-9-]+)\s*(?:\[(?P<label>.+)\])?\s*>=\s*(?P<threshold>[0-9.eE+-]+)\s*", re.S)


@dataclass(frozen=True, slots=True)
class Goal:
    """A metric, of the whole or of one class, that must reach a threshold in 0..1."""

    text: str
    metric: str
    label: str | None
    threshold: float


def parse_goal(text: str, labels: Sequence[str] | None = None, where: str = "evaluation.goals") -> Goal:
    """The goal that `text` says.

    Args:
        labels: the label set of the task, to check the label with; None when it is not known yet.
        where: the place in the recipe, for the error.

    Raises:
        RecipeError: [recipe/bad-goal] when it is not METRIC >= SHARE or METRIC[LABEL] >= SHARE.
        RecipeError: [recipe/unknown-goal-label] when the label is not one of the task's.

    >>> parse_goal("recall[refund] >= 0.95")
    Goal(text='recall[refund] >= 0.95', metric='recall', label='refund', threshold=0.95)
    """
    match = PATTERN.fullmatch(text)
    metric, label = (match["metric"], match["label"]) if match else ("", None)
    if not match or metric not in (WHOLE if label is None else PER_CLASS):
        raise _bad_goal(text, "is not METRIC >= SHARE or METRIC[LABEL] >= SHARE", where)
    try:
        threshold = float(match["threshold"])
    except ValueError:
        raise _bad_goal(text, f"has no number after >=: {excerpt(match['threshold'])}", where) from None
    if not 0.0 <= threshold <= 1.0:
        raise _bad_goal(text, f"asks for {threshold:g}, which is not a share from 0 to 1", where)
    if labels is not None and not labels and label is not None:
        raise _bad_goal(text, "names a label, and these rows have none", where)
    if labels is not None and label is not None and label not in labels:
        close = nearest(label, labels) or labels[0]
        raise RecipeError(
            "recipe/unknown-goal-label",
            f'"{excerpt(label)}" is not one of the {len(labels)} labels',
            where=where,
            known=[excerpt(known) for known in labels],
            hint=f"did you mean `{metric}[{excerpt(close)}] >= {threshold:g}`?",
        )
    return Goal(text, metric, label, threshold)


def judge_goals(
    goals: Sequence[Goal],
    metrics: Sequence[Metric],
    references: Sequence[Any],
    predictions: Sequence[Any],
    classes: Mapping[str, ClassFigures],
) -> list[dict[str, Any]]:
    """Each goal with its value, interval and n on these rows.

    `reached` compares the value with the threshold; `certain` says that the whole interval is on the same side.

    Args:
        metrics: empty ones, of the task.
        classes: the figures of each class on these rows.
    """

    def value(goal: Goal) -> MetricValue:
        if goal.label is not None:
            figures = classes[goal.label]
            return {"precision": figures.precision, "recall": figures.recall, "f1": figures.f1}[goal.metric]
        metric = next((metric for metric in metrics if metric.name == goal.metric), None)
        return measured(metric or create_metric(goal.metric, list(classes)), references, predictions)

    return [_judged(goal, value(goal)) for goal in goals]


def _judged(goal: Goal, value: MetricValue) -> dict[str, Any]:
    reached = value.value >= goal.threshold
    bound = value.low if reached else value.high
    certain = bound is not None and (bound >= goal.threshold) == reached
    return {"goal": goal.text, **value.as_dict(), "reached": reached, "certain": certain}


def _bad_goal(text: str, what: str, where: str) -> RecipeError:
    return RecipeError("recipe/bad-goal", f'"{excerpt(text)}" {what}', where=where, known=KNOWN, hint=EXAMPLE)
