"""Two recipes are told apart field by field."""

from __future__ import annotations

from typing import Any

from burnish.recipe.difference import recipe_differences
from burnish.recipe.read import build_recipe
from burnish.recipe.schema import Recipe


def recipe(**sections: Any) -> Recipe:
    return build_recipe({"data": {"train": "a.csv"}, **sections}, source="test")


def test_equal_recipes_differ_in_nothing() -> None:
    assert recipe_differences(recipe(), recipe()) == []


def test_each_field_is_named_with_both_values() -> None:
    found = recipe_differences(recipe(training={"seed": 1}), recipe(training={"seed": 2}, data={"train": "b.csv"}))
    assert found == [
        {"what": "data.train", "before": "a.csv", "now": "b.csv"},
        {"what": "training.seed", "before": 1, "now": 2},
    ]


def test_fields_of_another_method_are_none_where_it_has_none() -> None:
    found = {each["what"]: each for each in recipe_differences(recipe(method="full"), recipe(method="lora"))}
    assert found["method.name"] == {"what": "method.name", "before": "full", "now": "lora"}
    assert found["method.rank"] == {"what": "method.rank", "before": None, "now": 16}
