"""Which method goes on from which run, and the room a prompt takes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import RecipeError
from burnish.lifecycle.fit_base import fitted_base
from burnish.method.options import (
    AdapterOptions,
    FullOptions,
    HeadOptions,
    IA3Options,
    LoraOptions,
    PromptTuningOptions,
)
from burnish.model.find import find_base
from burnish.model.load import Base
from burnish.model.options import ModelOptions


@pytest.fixture
def base(sentence_base: Path) -> Base:
    return find_base(ModelOptions(base=str(sentence_base)), recipe_folder=Path(), runs=Path("absent"))


def earlier(base: Base, folder: Path, kind: str) -> Base:
    """The same base under the adapter of a run."""
    (folder / ("bottleneck.safetensors" if kind == "adapter" else "adapter_model.safetensors")).touch()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": kind}))
    return dataclasses.replace(base, name="first", adapter=folder, under=base)


def test_a_prompt_takes_its_part_of_the_positions(base: Base) -> None:
    """A base of 64 positions that reads 64 tokens reads 44 behind a prompt of 20."""
    assert (base.context, base.max_length) == (64, 64)
    fitted = fitted_base(base, PromptTuningOptions(tokens=20))
    assert (fitted.context, fitted.max_length) == (44, 44)
    short = fitted_base(dataclasses.replace(base, max_length=30), PromptTuningOptions(tokens=20))
    assert (short.context, short.max_length) == (44, 30)


@pytest.mark.parametrize("method", [None, LoraOptions(), IA3Options(), AdapterOptions(), FullOptions()])
def test_other_methods_take_a_plain_base_as_it_is(base: Base, method: Any) -> None:
    assert fitted_base(base, method) is base


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *(("LORA", option) for option in (LoraOptions(), IA3Options(), FullOptions(), HeadOptions())),
        ("IA3", LoraOptions()),
        ("adapter", AdapterOptions()),
        ("PROMPT_TUNING", PromptTuningOptions()),
    ],
)
def test_what_goes_on_from_what(base: Base, tmp_path: Path, kind: str, method: Any) -> None:
    assert fitted_base(earlier(base, tmp_path, kind), method).adapter == tmp_path


@pytest.mark.parametrize(
    ("kind", "method", "below"),
    [
        ("adapter", LoraOptions(), "adapter"),
        ("adapter", FullOptions(), "adapter"),
        ("PROMPT_TUNING", AdapterOptions(), "prompt-tuning"),
        ("LORA", AdapterOptions(), "lora"),
        ("IA3", PromptTuningOptions(), "ia3"),
    ],
)
def test_what_does_not(base: Base, tmp_path: Path, kind: str, method: Any, below: str) -> None:
    with pytest.raises(RecipeError) as caught:
        fitted_base(earlier(base, tmp_path, kind), method)
    assert (caught.value.code, caught.value.where) == ("recipe/adapter-on-adapter", "method")
    assert caught.value.message == (
        f'"first" was trained with {below}, and what that learned and method: {method.name} cannot be merged'
    )
    assert f"method: {below}" in str(caught.value.hint)
