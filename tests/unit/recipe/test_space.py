"""Spaces of a sweep: what is read, what is refused, and the recipes that come of it."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import RecipeError
from burnish.recipe.space import RATE_FACTOR, Dimension, parse_dimension, parse_space, with_values

TREE: dict[str, Any] = {"data": {"train": "tickets.csv"}, "method": "lora"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("training.learning_rate=1e-5..1e-3", Dimension("training.learning_rate", (), 1e-5, 1e-3, logarithmic=True)),
        ("training.epochs=2..8", Dimension("training.epochs", (), 2, 8, whole=True)),
        ("method.rank = 4..64", Dimension("method.rank", (), 4, 64, whole=True, logarithmic=True)),
        ("method.rank=8, 16,8", Dimension("method.rank", ("8", "16"))),
        ("training.weight_decay=0..0.1", Dimension("training.weight_decay", (), 0.0, 0.1)),
    ],
)
def test_a_dimension_is_read(text: str, wanted: Dimension) -> None:
    assert parse_dimension(text) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("training.epochs", "is not FIELD=LOW..HIGH or FIELD=A,B,C"),
        ("=1..2", "is not FIELD=LOW..HIGH or FIELD=A,B,C"),
        ("training.epochs=8..2", "ends where it begins, or before"),
        ("training.epochs=1..1", "ends where it begins, or before"),
        ("training.epochs=1e..2", "ends are not numbers"),
        ("method=lora", "names fewer than two values"),
        ("method=lora,", "names fewer than two values"),
        ("data.train=a.csv,b.csv", "data is the same in every trial"),
        ("evaluation.metric=accuracy,macro-f1", "evaluation is the same in every trial"),
        ("training.seed=1..9", "training.seed is the same in every trial"),
    ],
)
def test_what_is_no_dimension(text: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_dimension(text)
    assert caught.value.code == "sweep/bad-space"
    assert caught.value.where == "--over"
    assert says in caught.value.message
    assert "--over training.learning_rate=1e-5..1e-3" in str(caught.value.hint)


def test_methods_come_first_and_every_end_is_tried() -> None:
    found = parse_space(["method.rank=4,8", "training.epochs=1..3", "method=head,lora"], {"data": {"train": "a.csv"}})
    assert [dimension.field for dimension in found] == ["method", "method.rank", "training.epochs"]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["training.epochs=0..3"], "training.epochs"),
        (["training.learning_rte=1e-5..1e-3"], 'did you mean "learning_rate"?'),
        (["method=lora,lorra"], "its name is one of"),
        (["training.epochs=1..3", "training.epochs=2,4"], "named more than once"),
    ],
)
def test_values_that_no_recipe_takes(texts: list[str], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_space(texts, TREE)
    assert says in str(caught.value)


def test_values_become_a_recipe() -> None:
    recipe = with_values(TREE, {"method": "lora", "method.rank": 4, "training.epochs": 2, RATE_FACTOR: 3.0})
    assert recipe.method is not None
    assert recipe.method.model_dump()["rank"] == 4
    assert recipe.training.epochs == 2
    assert recipe.training.learning_rate is None, "whoever knows the rate multiplies it"
    assert TREE == {"data": {"train": "tickets.csv"}, "method": "lora"}
