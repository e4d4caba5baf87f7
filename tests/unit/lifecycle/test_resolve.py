"""The learning rate that a method gets where the recipe says none."""

from __future__ import annotations

import pytest

from burnish.errors import RecipeError
from burnish.lifecycle.resolve import decide_metric, decide_training, default_language_rate, default_learning_rate
from burnish.recipe.schema import Recipe
from burnish.task.build import TASKS


@pytest.mark.parametrize(
    ("method", "width", "rate"),
    [
        ("full", 384, 2e-4),
        ("freeze", 768, 5e-5),
        *((method, 384, 1e-3) for method in ("lora", "qlora", "adapter")),
        ("lora", 768, 2.5e-4),
        *(("ia3", width, 8e-3) for width in (384, 768)),
        *(("prompt-tuning", width, 3e-2) for width in (384, 768)),
    ],
)
def test_of_a_classifier(method: str, width: int, rate: float) -> None:
    assert default_learning_rate(method=method, width=width) == rate


@pytest.mark.parametrize(
    ("method", "width", "rate"),
    [
        ("full", 4_096, 1e-5),
        ("full", 2_048, 2e-5),
        *((method, 2_048, 2e-4) for method in ("lora", "qlora", "adapter")),
        ("ia3", 2_048, 8e-3),
        ("prompt-tuning", 2_048, 3e-2),
    ],
)
def test_of_a_language_model(method: str, width: int, rate: float) -> None:
    assert default_language_rate(method=method, width=width) == rate


@pytest.mark.parametrize(("classes", "rows"), [(3, "42 rows in 3 classes"), (0, "42 rows")])
def test_classes_are_counted_where_there_are_some(classes: int, rows: str) -> None:
    recipe = Recipe.model_validate({"data": {"train": "rows.csv"}, "method": "full"})
    _, notes = decide_training(recipe, train_rows=42, classes=classes, width=384)
    assert notes[0].startswith("training.epochs: ")
    assert notes[0].endswith(f", for {rows}")


def test_weights_that_are_drawn_are_trained_longer_and_in_all_layers_alike() -> None:
    tree = {"data": {"train": "rows.csv"}, "method": "full", "model": {"initialization": "random"}}
    recipe, notes = decide_training(Recipe.model_validate(tree), train_rows=2_000, classes=3, width=384)
    own, _ = decide_training(
        Recipe.model_validate({**tree, "training": {"epochs": 5, "layer_decay": 0.5}}),
        train_rows=2_000,
        classes=3,
        width=384,
    )

    assert (recipe.training.epochs, recipe.training.learning_rate, recipe.training.layer_decay) == (30, 5e-4, 1.0)
    assert notes[0] == "training.epochs: 30, for weights that are drawn"
    assert (own.training.epochs, own.training.layer_decay) == (5, 0.5)


@pytest.mark.parametrize("task", ["text-regression", "multi-label-classification", "question-answering"])
def test_a_metric_of_other_answers_is_refused(task: str) -> None:
    recipe = Recipe.model_validate({"data": {"train": "rows.csv"}, "evaluation": {"metric": "accuracy"}})
    with pytest.raises(RecipeError) as caught:
        decide_metric(recipe, TASKS[task], {})
    assert (caught.value.code, caught.value.where) == ("recipe/invalid", "evaluation.metric")
    assert caught.value.message == f"accuracy says nothing about {task}"
    assert f"metric: {TASKS[task].metrics[0]}" in str(caught.value.hint)
