"""Every default that a plan shows has a source, unless the recipe said it itself."""

from __future__ import annotations

from typing import Any, get_args

from burnish.engine.options import TrainingOptions
from burnish.lifecycle.sources import METHODS, OURS, TRAINING, YOURS, choices
from burnish.method.options import MethodName
from burnish.recipe.schema import Recipe


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"data": {"train": "rows.csv"}, **changes})


def test_each_default_has_its_source_and_the_reason_that_was_noted() -> None:
    decided = recipe(method="lora", training={"epochs": 10, "learning_rate": 1e-3})
    notes = ["method: lora, because 300 rows are few", "training.epochs: 10, for 300 rows in 3 classes"]
    found = {choice["field"]: choice for choice in choices(decided, recipe(), notes)}

    assert found["method"] == {
        "field": "method",
        "value": "lora",
        "why": "because 300 rows are few",
        "source": METHODS["lora"],
    }
    assert (found["training.epochs"]["why"], found["training.epochs"]["source"]) == ("for 300 rows in 3 classes", OURS)
    assert found["training.schedule"]["source"] == TRAINING["schedule"]


def test_what_the_recipe_says_is_its_own_source() -> None:
    said = recipe(method="full", training={"learning_rate": 1e-5}, model={"base": "mine"})
    found = {choice["field"]: choice["source"] for choice in choices(said, said, [])}

    assert (found["method"], found["training.learning_rate"], found["model.base"]) == (YOURS, YOURS, YOURS)
    assert found["training.epochs"] == OURS


def test_a_head_takes_no_steps() -> None:
    assert {choice["field"] for choice in choices(recipe(method="head"), recipe(), [])} == {
        "model.base",
        "method",
        "evaluation.metric",
    }


def test_all_methods_and_only_fields_that_exist_are_known() -> None:
    assert set(METHODS) == set(get_args(MethodName))
    assert set(TRAINING) <= set(TrainingOptions.model_fields)
