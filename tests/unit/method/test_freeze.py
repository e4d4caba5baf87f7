"""Freeze: exactly the last layers and the head learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import RecipeError
from burnish.method.freeze import Freeze
from burnish.model.find import find_base
from burnish.model.language import load_language_model
from burnish.model.options import ModelOptions


def test_the_last_layer_and_the_head_of_a_classifier(make_classifier: Callable[..., Any]) -> None:
    _, model = make_classifier()
    method = Freeze(layers=1)
    method.attach(model)
    names = set(method.trainable(model))
    assert any(name.startswith("head.") for name in names)
    layers = {name.split("layer.")[1].split(".")[0] for name in names if "layer." in name}
    assert layers == {"1"}, "the second of two layers"
    assert not any("embeddings" in name for name in names)


def test_the_last_layer_of_a_language_model(language_base: Path) -> None:
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    model = load_language_model(base)
    Freeze(layers=1).attach(model)
    learn = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learn
    assert all("layers.1." in name for name in learn)


@pytest.mark.parametrize(("family", "name"), [("t5", "decoder.block.1."), ("bart", "decoder.layers.1.")])
def test_the_last_layer_of_an_encoder_with_a_decoder(
    make_seq2seq_base: Callable[..., Path], family: str, name: str
) -> None:
    """It is the decoder's: what is nearest to the words."""
    options = ModelOptions(base=str(make_seq2seq_base(family=family)))
    model = load_language_model(find_base(options, recipe_folder=Path(), runs=Path("absent")))
    Freeze(layers=1).attach(model)
    learn = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learn
    assert all(name in weight for weight in learn)


def test_more_layers_than_there_are(language_base: Path) -> None:
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    with pytest.raises(RecipeError) as caught:
        Freeze(layers=3).attach(load_language_model(base))
    assert caught.value.code == "method/too-many-layers"
    assert caught.value.where == "method.layers"
    assert "this base has 2" in str(caught.value)
