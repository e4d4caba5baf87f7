"""evaluation.json of a classifier, from labels alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from burnish.errors import RecipeError
from burnish.evaluation.arms import ArmResult
from burnish.evaluation.judge_labels import judge_classification
from burnish.evaluation.options import EvaluationOptions
from burnish.types import MetricValue, Row

LABELS = ("cancel", "other", "refund")


def guesses(truth: Sequence[str], share_right: float, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [label if random.random() < share_right else LABELS[random.integers(3)] for label in truth]


def judged(tuned: float = 0.95, probe: float = 0.8, *, n: int = 600, **changes: Any) -> dict[str, Any]:
    """A tuned model and two arms with these shares of right rows; validation says the same as test."""
    truth = [LABELS[i % 3] for i in range(n)]
    arms = [
        ArmResult("majority", ["other"] * n, ["other"] * n, {"label": "other"}),
        ArmResult("base-probe", guesses(truth, probe, 1), guesses(truth, probe, 2), {"l2": 0.1}, 1.23456),
    ]
    arguments: dict[str, Any] = {
        "references": truth,
        "tuned": guesses(truth, tuned, 3),
        "arms": arms,
        "validation_references": truth,
        "validation_tuned": guesses(truth, tuned, 4),
        "options": EvaluationOptions(resamples=200),
        "train_label_counts": dict.fromkeys(LABELS, 100),
        "method_name": "lora",
        "seed": 13,
    }
    return judge_classification(**{**arguments, **changes})


def test_the_content_is_json_and_has_the_promised_keys() -> None:
    content = judged()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert (content["task"], content["split"], content["n"], content["opened"]) == (
        "text-classification",
        "test",
        600,
        1,
    )
    assert content["labels"] == list(LABELS)
    assert set(content["models"]) == set(content["validation"]) == {"tuned", "majority", "base-probe"}
    for model in content["models"].values():
        for value in (model["accuracy"], model["macro-f1"]):
            assert value["low"] <= value["value"] <= value["high"]
            assert value["n"] == 600
    assert content["arms"]["base-probe"]["seconds"] == 1.235
    assert content["arms"]["base-probe"]["settings"] == {"l2": 0.1}
    assert np.sum(content["confusion"]["matrix"]) == 600
    assert set(content["classes"]) == set(LABELS)


def test_the_verdict_is_against_the_strongest_arm_and_fits_the_models() -> None:
    content = judged()
    verdict, models = content["verdict"], content["models"]
    assert (verdict["answer"], verdict["against"], verdict["metric"]) == ("better", "base-probe", "accuracy")
    gained = models["tuned"]["accuracy"]["value"] - models["base-probe"]["accuracy"]["value"]
    assert verdict["difference"] == pytest.approx(gained)
    only_tuned, only_against = content["discordant"]["tuned"], content["discordant"]["against"]
    assert verdict["difference"] == pytest.approx((only_tuned - only_against) / 600)
    assert content["arms"]["base-probe"]["difference"]["value"] == verdict["difference"]


def test_further_metrics_are_compared_and_decide_nothing() -> None:
    content = judged()
    (further,) = content["comparisons"]
    assert further["metric"] == "macro-f1"
    models = content["models"]
    gained = models["tuned"]["macro-f1"]["value"] - models["base-probe"]["macro-f1"]["value"]
    assert further["difference"] == pytest.approx(gained)
    assert further["low"] < further["difference"] < further["high"]
    assert further["p_holm"] == further["p_value"], "one of them alone"
    assert (content["verdict"]["test"], further["test"]) == ("McNemar", "permutation")


def test_equal_predictions_are_the_same() -> None:
    truth = [LABELS[i % 3] for i in range(600)]
    content = judged(tuned=0.8, probe=0.8, arms=[ArmResult("base-probe", truth, guesses(truth, 0.8, 3))])
    assert content["verdict"]["answer"] == "same"
    assert content["verdict"]["p_value"] == 1.0


def test_unequal_classes_are_judged_by_macro_f1() -> None:
    content = judged(train_label_counts={"cancel": 10, "other": 100, "refund": 50})
    assert content["metric"] == content["verdict"]["metric"] == "macro-f1"


def test_a_label_that_only_training_has_belongs_to_the_task() -> None:
    content = judged(train_label_counts={**dict.fromkeys(LABELS, 100), "rare": 90})
    assert content["labels"] == [*LABELS[:2], "rare", "refund"]
    assert content["classes"]["rare"]["support"] == 0
    assert '"rare"' not in content["verdict"]["advice"]  # no rows, so nothing is known about it


def test_goals_are_judged_and_their_labels_checked() -> None:
    goals = EvaluationOptions(goals=("accuracy >= 0.5", "recall[refund] >= 0.999"), resamples=200)
    found = judged(options=goals)["goals"]
    assert [(goal["goal"], goal["reached"]) for goal in found] == [
        ("accuracy >= 0.5", True),
        ("recall[refund] >= 0.999", False),
    ]
    with pytest.raises(RecipeError, match="recipe/unknown-goal-label"):
        judged(options=EvaluationOptions(goals=("recall[refnd] >= 0.9",)))


class Mistakes:
    """Rows that are wrong: lower is better, and no name leads to it."""

    name: ClassVar[str] = "mistakes"
    higher_is_better: ClassVar[bool] = False

    def __init__(self) -> None:
        self.wrong: list[bool] = []

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        self.wrong += [p["label"] != r["label"] for p, r in zip(predictions, references, strict=True)]

    def merge(self, other: Self) -> None:
        self.wrong += other.wrong

    def compute(self) -> MetricValue:
        return MetricValue(self.name, sum(self.wrong) / len(self.wrong), len(self.wrong), higher_is_better=False)


def test_a_metric_of_the_callers_own_decides_and_fewer_mistakes_are_better() -> None:
    content = judged(n=300, metric=Mistakes())
    verdict = content["verdict"]
    assert (verdict["metric"], verdict["answer"], verdict["against"]) == ("mistakes", "better", "base-probe")
    assert verdict["difference"] > 0  # the gain, not the difference of the raw values
    assert content["models"]["tuned"]["mistakes"]["value"] < content["models"]["base-probe"]["mistakes"]["value"]
    assert {"mistakes", "accuracy", "macro-f1"} == set(content["models"]["tuned"])
