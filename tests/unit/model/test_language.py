"""Tokens that nobody trained: the head cannot tell them from others."""

from __future__ import annotations

from pathlib import Path

import torch

from burnish.model.find import find_base
from burnish.model.language import load_language_model, untrained_tokens
from burnish.model.options import ModelOptions


def test_tokens_with_one_vector_are_found(language_base: Path) -> None:
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    model = load_language_model(base)
    assert untrained_tokens(model, [0, 1, 5]) == {}
    with torch.no_grad():
        weight = model.causal.get_output_embeddings().weight
        weight[[1, 7, 9]] = weight[5] * 1.0001
    assert untrained_tokens(model, [0, 1, 5]) == {1: 3, 5: 3}
