"""A Recipe that is made in Python says what its caller said, and no more."""

from __future__ import annotations

from burnish.lifecycle.recipe_of import recipe_of
from burnish.recipe.read import build_recipe, require_no_contradictions
from burnish.recipe.schema import Recipe


def test_defaults_of_a_recipe_are_not_taken_for_what_was_said() -> None:
    """Smoothing has a default, and a chat refuses it from anybody who asks for it."""
    recipe = build_recipe({"task": "chat", "data": {"train": "x.jsonl"}, "method": "lora"}, [], source="test")
    again, _ = recipe_of(recipe, test=None, overrides=["training.epochs=2"], seed=5)
    assert again.model_fields_set == {"task", "data", "method", "training"}
    assert again.training.model_fields_set == {"epochs", "seed"}
    require_no_contradictions(again)


def test_a_method_keeps_its_name() -> None:
    recipe = Recipe.model_validate({"data": {"train": "x.csv"}, "method": {"name": "lora", "rank": 4}})
    again, _ = recipe_of(recipe, test=None, overrides=(), seed=None)
    assert again.method == recipe.method
