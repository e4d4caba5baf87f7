"""Judges a tuned model: everything evaluation.json says, from its answers and the references. No files, no models.

An answer is whatever the task's metrics compare: a label, a tuple of tags, a number, a text. It must be hashable and
have an order, so that rows that are alike are counted once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from burnish.evaluation.arms import ArmResult, strongest
from burnish.evaluation.compare import Difference, compared, paired_gain, row_wins, significance
from burnish.evaluation.goals import judge_goals, parse_goal
from burnish.evaluation.metrics.classification import ClassFigures
from burnish.evaluation.metrics.resampling import measured, value_of
from burnish.evaluation.options import EvaluationOptions
from burnish.evaluation.verdict import Evidence, decide
from burnish.task.build import TASKS
from burnish.types import Metric

FURTHER_RESAMPLES = 1_000  # of each metric that decides nothing: half the time, and intervals that are a trifle rougher


def judge(
    *,
    task: str,
    metrics: Sequence[Metric],
    references: Sequence[Any],
    tuned: Sequence[Any],
    arms: Sequence[ArmResult],
    validation_references: Sequence[Any],
    validation_tuned: Sequence[Any],
    options: EvaluationOptions,
    method_name: str,
    seed: int,
    classes: Mapping[str, ClassFigures] | None = None,
    opened: int = 1,
    further: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of evaluation.json.

    Args:
        task: that the model was tuned for.
        metrics: empty ones; the first decides the verdict.
        references: answers of the test rows.
        tuned: the tuned model's answers to them.
        arms: what each arm that needs no fine-tuning answers to the same validation and test rows; at least one.
        validation_references: answers of the validation rows, on which the strongest arm is chosen.
        validation_tuned: the tuned model's answers to them.
        method_name: "lora", "full", "head"...
        seed: of the bootstrap.
        classes: the tuned model's figures on the test rows for each class, where there are classes.
        opened: how often the test rows have been judged on, this time included.
        further: what else evaluation.json says of this kind of task: classes, confusion, diagnostics.
    """
    decider = metrics[0]
    against = strongest(arms, decider, validation_references)
    draws = {"resamples": options.resamples, "seed": seed}
    differences = {arm.name: paired_gain(decider, references, tuned, arm.test_predictions, **draws) for arm in arms}
    wins, losses = row_wins(decider, references, tuned, against.test_predictions)
    p_value, test = significance(decider, references, tuned, against.test_predictions, **draws)
    verdict = decide(
        Evidence(
            metric=decider.name,
            against=against.name,
            differences=differences,
            p_value=p_value,
            test=test,
            discordant=wins + losses,
            minimum_effect=options.minimum_effect,
            method=method_name,
            weakest_class=_weakest(classes) if classes else None,
            head="head" in getattr(TASKS.get(task), "methods", ("head",)),
        )
    )
    goals = [parse_goal(text, list(classes or ())) for text in options.goals]
    few = draws | {"resamples": min(options.resamples, FURTHER_RESAMPLES)}
    return {
        "task": task,
        "split": "test",
        "n": len(references),
        "opened": opened,
        "metric": decider.name,
        "verdict": verdict.as_dict(),
        "goals": judge_goals(goals, metrics, references, tuned, classes or {}),
        "models": _on_test(metrics, references, tuned, arms),
        "validation": _on_validation(metrics, validation_references, validation_tuned, arms),
        "arms": {arm.name: _described(arm, differences[arm.name]) for arm in arms},
        "discordant": {"tuned": wins, "against": losses},
        "comparisons": compared(metrics[1:], references, tuned, against.test_predictions, **few),
        **({"classes": {name: figures.as_dict() for name, figures in classes.items()}} if classes else {}),
        **(further or {}),
    }


def _on_test(
    metrics: Sequence[Metric], references: Sequence[Any], tuned: Sequence[Any], arms: Sequence[ArmResult]
) -> dict[str, Any]:
    """Every metric of every model on the test rows, with its interval."""
    answers_of = {"tuned": tuned, **{arm.name: arm.test_predictions for arm in arms}}
    return {
        model: {metric.name: measured(metric, references, answers).as_dict() for metric in metrics}
        for model, answers in answers_of.items()
    }


def _on_validation(
    metrics: Sequence[Metric], references: Sequence[Any], tuned: Sequence[Any], arms: Sequence[ArmResult]
) -> dict[str, Any]:
    """Every metric of every model on the validation rows, which it was chosen on."""
    answers_of = {"tuned": tuned, **{arm.name: arm.validation_predictions for arm in arms}}
    return {
        model: {metric.name: value_of(metric, references, answers) for metric in metrics}
        for model, answers in answers_of.items()
    }


def _described(arm: ArmResult, difference: Difference) -> dict[str, Any]:
    return {"settings": dict(arm.settings), "seconds": round(arm.seconds, 3), "difference": asdict(difference)}


def _weakest(classes: Mapping[str, ClassFigures]) -> tuple[str, float]:
    """The class with test rows that has the lowest F1; of equal ones the one with most rows."""
    tested = {label: figures for label, figures in classes.items() if figures.support}
    label = min(tested, key=lambda name: (tested[name].f1.value, -tested[name].support))
    return label, tested[label].f1.value
