"""Judges a classifier: beside the verdict, the figures of every class and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation.arms import ArmResult
from burnish.evaluation.judge import judge
from burnish.evaluation.metrics import LABEL_METRICS, create_metric, default_metric
from burnish.evaluation.metrics.classification import class_figures, confusion_matrix
from burnish.evaluation.options import EvaluationOptions
from burnish.types import Metric


def judge_classification(
    *,
    references: Sequence[str],
    tuned: Sequence[str],
    arms: Sequence[ArmResult],
    validation_references: Sequence[str],
    validation_tuned: Sequence[str],
    options: EvaluationOptions,
    train_label_counts: Mapping[str, int],
    method_name: str,
    seed: int,
    task: str = "text-classification",
    metric: Metric | None = None,
    opened: int = 1,
) -> dict[str, Any]:
    """The content of evaluation.json for one label per row; arguments as for `judge`.

    Args:
        train_label_counts: training rows per label; its keys and the labels of the test rows are the label set.
        metric: an empty metric that decides, for one that no name leads to; None: the one that `options` name.
    """
    labels = sorted({*train_label_counts, *references})
    decider = metric or create_metric(options.metric or default_metric(train_label_counts), labels)
    others = [create_metric(name, labels) for name in LABEL_METRICS if name != decider.name]
    return judge(
        task=task,
        metrics=[decider, *others],
        references=references,
        tuned=tuned,
        arms=arms,
        validation_references=validation_references,
        validation_tuned=validation_tuned,
        options=options,
        method_name=method_name,
        seed=seed,
        classes=class_figures(references, tuned, labels),
        opened=opened,
        further={
            "labels": labels,
            "confusion": {"labels": labels, "matrix": confusion_matrix(references, tuned, labels).tolist()},
        },
    )
