"""What a recipe for a table leaves open, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import DataProblemError, RecipeError
from burnish.lifecycle.resolve_table import (
    EVALUATE_EVERY,
    MOST_EPOCHS,
    decide_table_metric,
    decide_table_training,
    metrics_for,
)
from burnish.recipe.schema import Recipe


def recipe(**sections: Any) -> Recipe:
    return Recipe(**({"data": {"train": "churn.csv"}} | sections))


@pytest.mark.parametrize(
    ("counts", "metric", "positive"),
    [
        ({"no": 80, "yes": 20}, "pr-auc", "yes"),
        ({"no": 75, "yes": 25}, "roc-auc", "yes"),
        ({"0": 40, "1": 60}, "roc-auc", "0"),
        ({"a": 50, "b": 50}, "roc-auc", "a"),
        ({"a": 5, "b": 5, "c": 5}, "macro-f1", None),
        ({}, "r2", None),
    ],
)
def test_the_metric_follows_the_target(counts: dict[str, int], metric: str, positive: str | None) -> None:
    decided, reason = decide_table_metric(recipe(), counts)
    assert decided.evaluation.metric == metric
    assert decided.table.positive == positive
    assert reason is not None
    assert reason.startswith(f"evaluation.metric: {metric}")


def test_what_the_recipe_says_stays() -> None:
    said = recipe(evaluation={"metric": "log-loss"}, table={"positive": "no"})
    decided, reason = decide_table_metric(said, {"no": 80, "yes": 20})
    assert (decided.evaluation.metric, decided.table.positive, reason) == ("log-loss", "no", None)


def test_a_common_positive_class_is_ranked_by_roc() -> None:
    decided, reason = decide_table_metric(recipe(table={"positive": "no"}), {"no": 80, "yes": 20})
    assert decided.evaluation.metric == "roc-auc"
    assert reason == 'evaluation.metric: roc-auc, "no" is 80.0% of the training rows'


@pytest.mark.parametrize(
    ("sections", "counts", "message", "where", "hint"),
    [
        (
            {"evaluation": {"metric": "r2"}},
            {"no": 8, "yes": 2},
            "r2 says nothing about this target",
            "evaluation.metric",
            "one of roc-auc, pr-auc, log-loss, brier, calibration-error, accuracy, macro-f1",
        ),
        (
            {"evaluation": {"metric": "pr-auc"}},
            {"a": 1, "b": 1, "c": 1},
            "pr-auc says nothing about this target",
            "evaluation.metric",
            "one of log-loss, brier, calibration-error, accuracy, macro-f1",
        ),
        (
            {"table": {"positive": "yess"}},
            {"no": 8, "yes": 2},
            '"yess" is no class of the target',
            "table.positive",
            "write `table: {positive: yes}`",
        ),
        (
            {"table": {"positive": "a"}},
            {"a": 1, "b": 1, "c": 1},
            "there are 3 classes, not two",
            "table.positive",
            "leave it out",
        ),
    ],
)
def test_what_says_nothing_about_the_target_is_refused(
    sections: dict[str, Any], counts: dict[str, int], message: str, where: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        decide_table_metric(recipe(**sections), counts)
    error = caught.value
    assert (error.code, error.message, error.where, error.hint) == ("recipe/invalid", message, where, hint)


def test_one_class_alone_teaches_nothing() -> None:
    with pytest.raises(DataProblemError) as caught:
        decide_table_metric(recipe(), {"no": 80})
    assert caught.value.code == "data/one-class"
    assert caught.value.message == 'every training row has the same target, "no"'


def test_a_metric_of_another_package_is_left_to_it() -> None:
    decided, _ = decide_table_metric(recipe(evaluation={"metric": "elsewhere"}), {"no": 8, "yes": 2})
    assert decided.evaluation.metric == "elsewhere"


@pytest.mark.parametrize(("rows", "batch"), [(80, 32), (999, 32), (1_000, 64), (4_930, 128), (31_700, 256)])
def test_training_follows_the_rows(rows: int, batch: int) -> None:
    decided, reasons = decide_table_training(recipe(), train_rows=rows)
    training = decided.training
    assert training.global_batch_size == batch
    assert training.epochs is not None
    assert 1 <= training.epochs <= MOST_EPOCHS
    assert training.evaluate_every_steps is not None
    assert training.evaluate_every_steps >= EVALUATE_EVERY
    assert (training.layer_decay, training.label_smoothing) == (1.0, 0.0)
    assert decided.method is not None
    assert decided.method.name == "full"
    assert len(reasons) == 1


def test_a_resolved_recipe_is_not_decided_again() -> None:
    decided, _ = decide_table_training(recipe(), train_rows=80)
    again, _ = decide_table_training(Recipe(**decided.model_dump(mode="json")), train_rows=5_000)
    assert again.training == decided.training


def test_metrics_of_each_kind_of_target() -> None:
    assert metrics_for({}) == ["r2", "mae", "rmse"]
    assert metrics_for({"a": 1, "b": 1})[:2] == ["roc-auc", "pr-auc"]
    assert "roc-auc" not in metrics_for({"a": 1, "b": 1, "c": 1})
