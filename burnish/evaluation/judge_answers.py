"""Judges written answers: their texts, or the loss on texts that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation.arms import ArmResult
from burnish.evaluation.judge import judge
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.metrics.answers import ChrF, ExactMatch, MeanLoss, RewardAccuracy
from burnish.evaluation.options import EvaluationOptions


def judge_answers(
    *,
    references: Sequence[str],
    tuned: Sequence[str],
    arms: Sequence[ArmResult],
    validation_references: Sequence[str],
    validation_tuned: Sequence[str],
    options: EvaluationOptions,
    method_name: str,
    seed: int,
    task: str = "chat",
    opened: int = 1,
    diagnostics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of evaluation.json for a language model; arguments as for `judge`.

    Args:
        references: answers of the test rows; for the metric `loss`, empty texts.
        tuned: the tuned model's answers; for the metric `loss`, its nats per token of each row as texts.
        diagnostics: numbers that say something about the model and decide nothing: losses, how many answers stopped.
    """
    decider = str(options.metric)
    others = (ExactMatch.name, ChrF.name) if decider not in (MeanLoss.name, RewardAccuracy.name) else ()
    return judge(
        task=task,
        metrics=[create_metric(name, ()) for name in dict.fromkeys([decider, *others])],
        references=references,
        tuned=tuned,
        arms=arms,
        validation_references=validation_references,
        validation_tuned=validation_tuned,
        options=options,
        method_name=method_name,
        seed=seed,
        opened=opened,
        further={"diagnostics": dict(diagnostics or {})},
    )
