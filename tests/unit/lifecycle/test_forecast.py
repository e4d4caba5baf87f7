"""Forecasts for small bases, and the refusal of what cannot fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ModelError
from burnish.lifecycle import forecast as module
from burnish.lifecycle.forecast import Forecast, forecast, lengths_of_rows, require_fit, said_seconds, what_would_fit
from burnish.lifecycle.machine_speed import MachineSpeed
from burnish.model.find import find_base
from burnish.model.load import Base
from burnish.model.options import ModelOptions
from burnish.recipe.read import build_recipe
from burnish.recipe.schema import Recipe
from burnish.types import Example, Origin, Split

SPEED = MachineSpeed(1e5, {})


@dataclasses.dataclass
class Rows:
    """What a forecast looks at of prepared data."""

    splits: dict[Split, list[Example]]


def rows_of(*texts: str) -> Any:
    examples = [Example({"text": text, "label": "a"}, Origin("a.csv", i + 2)) for i, text in enumerate(texts)]
    return Rows({Split.TRAIN: examples, Split.VALIDATION: examples[:1], Split.TEST: examples[:1]})


def recipe_with(**training: Any) -> Recipe:
    method = training.pop("method", "full")
    given = {"data": {"train": "a.csv"}, "method": method, "training": {"epochs": 2, **training}}
    return build_recipe(given, source="test")


@pytest.fixture(scope="module")
def base(make_base: Callable[..., Path]) -> Base:
    return find_base(ModelOptions(base=str(make_base())), recipe_folder=Path(), runs=Path())


def forecast_of(recipe: Recipe, base: Base, *texts: str) -> Forecast:
    found = forecast(recipe, base, rows_of(*texts), speed=SPEED)
    assert found is not None
    return found


def test_tokens_are_counted_as_the_base_reads_them(base: Base) -> None:
    lengths = lengths_of_rows(recipe_with(), base, rows_of("my card", "where", "the " * 100).splits[Split.TRAIN])
    # [CLS] my card [SEP]; [CLS] where [SEP]; cut at 64; the label is one more token of a row
    assert (lengths.rows, lengths.longest) == (3, 64)
    assert lengths.total == 5 + 4 + 64


def test_price_makes_cost_and_steps_make_time(base: Base) -> None:
    texts = ["my card", "where is my refund"] * 20
    short = forecast_of(recipe_with(max_steps=1, global_batch_size=4), base, *texts)
    long = forecast_of(recipe_with(price_per_hour=3_600.0), base, *texts)
    assert short.seconds_high < long.seconds_high
    assert (short.cost_low, short.cost_high) == (None, None)
    assert long.cost_high == pytest.approx(long.seconds_high, abs=0.1)
    assert "at a cost of" in long.sentence()
    assert short.sentence().startswith("needs about 0.5 GiB of ")
    assert short.fits is (short.memory.total <= module.SPARE * short.available_bytes)


def test_a_head_takes_no_steps(base: Base) -> None:
    head = build_recipe({"data": {"train": "a.csv"}, "method": "head"}, source="test")
    solved, stepped = (forecast_of(recipe, base, "my card").inputs for recipe in (head, recipe_with()))
    assert solved["multiplications"] < stepped["multiplications"]


def test_what_cannot_fit_is_refused_with_what_would(base: Base) -> None:
    recipe = recipe_with(micro_batch_tokens=2_000_000)
    found = forecast_of(recipe, base, *(["my card " * 30] * 4))
    large = dataclasses.replace(base, name="large", parameters=7_000_000_000)
    full = forecast_of(recipe, large, "my card")
    tight = dataclasses.replace(full, available_bytes=6 * 2**30)
    with pytest.raises(ModelError) as caught:
        require_fit(tight, recipe, large)
    error = caught.value
    assert (error.code, error.where, error.exit_code) == ("model/does-not-fit", "model.base", 2)
    assert error.message.endswith("6.0 GiB are free")
    assert error.details[0].startswith("optimizer: 78.2 GiB")
    assert "model.base=google-bert/bert-base-multilingual-cased (178 million weights)" in str(error.hint)
    require_fit(dataclasses.replace(found, available_bytes=2**40), recipe, base)


def test_lora_and_fewer_tokens_come_before_another_base(base: Base) -> None:
    recipe = recipe_with(micro_batch_tokens=1_000_000, global_batch_size=4_096)
    wide = dataclasses.replace(base, parameters=300_000_000, width=1_024)
    many = forecast_of(recipe, wide, *(["my card " * 30] * 2_000))
    ways = what_would_fit(dataclasses.replace(many, available_bytes=10 * 2**30), recipe, wide)
    assert ways[0] == "--set training.micro_batch_tokens=128"
    few = forecast_of(recipe, wide, "my card")
    ways = what_would_fit(dataclasses.replace(few, available_bytes=4 * 2**30), recipe, wide)
    assert [way.split("=")[0] for way in ways] == ["--set method", "--set model.base"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (2.2, 5.1, "about 2 to 6 seconds"),
        (360.0, 530.0, "about 6 to 9 minutes"),
        (5_400.0, 9_000.0, "about 1.5 to 3 hours"),
    ],
)
def test_times_are_said_in_their_own_unit(low: float, high: float, said: str) -> None:
    assert said_seconds(low, high) == said
