"""Weights in four bits: counted as what they are, made whole to the same products, refused where they cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from burnish.errors import ModelError
from burnish.model import quantized
from burnish.model.find import find_base
from burnish.model.language import load_language_model
from burnish.model.options import ModelOptions


@pytest.fixture
def packed(language_base: Path) -> nn.Module:
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    return load_language_model(replace(base, quantization=quantized.NF4))


def test_two_weights_lie_in_each_number(packed: nn.Module, language_base: Path) -> None:
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    whole = load_language_model(base)
    assert quantized.count_weights(packed) == quantized.count_weights(whole)
    assert sum(w.numel() for w in packed.parameters()) < quantized.count_weights(whole)


def test_a_layer_made_whole_computes_the_same(packed: nn.Module) -> None:
    layer = next(part for part in packed.modules() if isinstance(part, nn.Linear) and quantized.is_packed(part.weight))
    states = torch.randn(5, layer.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(layer(states), quantized.made_whole(layer)(states), atol=1e-5)


def test_predictions_leave_the_weights_as_they_are(monkeypatch: pytest.MonkeyPatch, language_base: Path) -> None:
    """bitsandbytes packs them anew on a CPU with bf16, with rounded scales."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    model = load_language_model(replace(base, quantization=quantized.NF4)).eval()
    layer: Any = next(part for part in model.modules() if quantized.is_packed(getattr(part, "weight", None)))
    before, scales = layer.weight.data.clone(), layer.weight.quant_state.absmax.clone()
    with torch.no_grad():
        layer(torch.ones(1, layer.in_features))
    assert torch.equal(layer.weight.data, before)
    assert torch.equal(layer.weight.quant_state.absmax, scales)


def test_without_bitsandbytes_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_bitsandbytes_available", lambda: False)
    with pytest.raises(ModelError) as caught:
        quantized.quantization_config()
    assert caught.value.code == "model/no-bitsandbytes"
    assert caught.value.hint == "pip install 'burnish[qlora]'"
