"""Judges a classifier: everything evaluation.json says, from labels alone. No files, no models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from burnish.evaluation.arms import ArmResult, strongest
from burnish.evaluation.compare import Difference, discordant, mcnemar_exact, paired_bootstrap
from burnish.evaluation.goals import judge_goals, parse_goal
from burnish.evaluation.metrics import METRICS, create_metric, default_metric
from burnish.evaluation.metrics.classification import ClassFigures, class_figures, confusion_matrix
from burnish.evaluation.metrics.resampling import measured, value_of
from burnish.evaluation.options import EvaluationOptions
from burnish.evaluation.verdict import Evidence, decide
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
    metric: Metric | None = None,
    opened: int = 1,
) -> dict[str, Any]:
    """The content of evaluation.json for a text classifier.

    Args:
        references: labels of the test rows.
        tuned: the tuned model's labels for them.
        arms: what each arm that needs no fine-tuning predicts for the same validation and test rows; at least one.
        validation_references: labels of the validation rows, on which the strongest arm is chosen.
        validation_tuned: the tuned model's labels for them.
        train_label_counts: training rows per label; its keys and the labels of the test rows are the label set.
        method_name: "lora", "full", "head"...
        seed: of the bootstrap.
        metric: an empty metric that decides, for one that no name leads to; None: the one that `options` name.
        opened: how often the test rows have been judged on, this time included.
    """
    labels = sorted({*train_label_counts, *references})
    decider = metric or create_metric(options.metric or default_metric(train_label_counts), labels)
    metrics = {decider.name: decider, **{name: create_metric(name, labels) for name in METRICS if name != decider.name}}
    against = strongest(arms, decider, validation_references)
    test_predictions = {"tuned": tuned, **{arm.name: arm.test_predictions for arm in arms}}
    validation_predictions = {"tuned": validation_tuned, **{arm.name: arm.validation_predictions for arm in arms}}
    classes = class_figures(references, tuned, labels)
    differences = {
        arm.name: _gain(decider, references, tuned, arm.test_predictions, options.resamples, seed) for arm in arms
    }
    only_tuned, only_against = discordant(references, tuned, against.test_predictions)
    evidence = Evidence(
        metric=decider.name,
        against=against.name,
        differences=differences,
        p_value=mcnemar_exact(references, tuned, against.test_predictions),
        discordant=only_tuned + only_against,
        minimum_effect=options.minimum_effect,
        method=method_name,
        weakest_class=_weakest(classes),
    )
    goals = [parse_goal(text, labels) for text in options.goals]
    return {
        "task": "text-classification",
        "split": "test",
        "n": len(references),
        "opened": opened,
        "metric": decider.name,
        "labels": labels,
        "verdict": decide(evidence).as_dict(),
        "goals": judge_goals(goals, references, tuned, labels),
        "models": {
            model: {name: measured(metric, references, predictions).as_dict() for name, metric in metrics.items()}
            for model, predictions in test_predictions.items()
        },
        "validation": {
            model: {name: value_of(metric, validation_references, predictions) for name, metric in metrics.items()}
            for model, predictions in validation_predictions.items()
        },
        "arms": {
            arm.name: {
                "settings": dict(arm.settings),
                "seconds": round(arm.seconds, 3),
                "difference": asdict(differences[arm.name]),
            }
            for arm in arms
        },
        "discordant": {"tuned": only_tuned, "against": only_against},
        "classes": {label: figures.as_dict() for label, figures in classes.items()},
        "confusion": {"labels": labels, "matrix": confusion_matrix(references, tuned, labels).tolist()},
    }


def _gain(
    metric: Metric, references: Sequence[str], tuned: Sequence[str], arm: Sequence[str], resamples: int, seed: int
) -> Difference:
    """How much better tuned is than the arm: the difference, or its negative where lower is better."""
    first, second = (tuned, arm) if metric.higher_is_better else (arm, tuned)
    return paired_bootstrap(metric, references, first, second, resamples=resamples, seed=seed)


def _weakest(classes: Mapping[str, ClassFigures]) -> tuple[str, float]:
    """The class with test rows that has the lowest F1; of equal ones the one with most rows."""
    tested = {label: figures for label, figures in classes.items() if figures.support}
    label = min(tested, key=lambda name: (tested[name].f1.value, -tested[name].support))
    return label, tested[label].f1.value
