"""Prompt tuning: vectors of words, and nothing else of the base, learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from burnish.errors import RecipeError
from burnish.method.prompt_tuning import PromptTuning
from burnish.model.prompt import prompt_of

Make = Callable[..., Any]


def test_only_the_vectors_and_the_head_learn(make_classifier: Make) -> None:
    _, model = make_classifier()
    table = model.encoder.get_input_embeddings().weight.detach().clone()
    torch.manual_seed(5)
    method = PromptTuning(tokens=3)
    learned = method.trainable(method.attach(model))
    assert {name.rsplit("embeddings.", 1)[-1] for name in learned if "head" not in name} == {"prompt.weight"}
    start = next(weight for name, weight in learned.items() if "prompt" in name)
    assert start.shape == (3, 16)
    assert all(bool((table == vector).all(dim=1).any()) for vector in start), "they start as vectors of words"


def test_a_prompt_that_is_there_is_trained_further(make_classifier: Make) -> None:
    _, model = make_classifier()
    PromptTuning(tokens=3).attach(model)
    prompt = prompt_of(model.encoder)
    PromptTuning(tokens=3).attach(model)
    assert prompt_of(model.encoder) is prompt
    with pytest.raises(RecipeError) as caught:
        PromptTuning(tokens=5).attach(model)
    assert (caught.value.code, caught.value.where) == ("method/other-size", "method.tokens")
    assert "of 3 vectors, not of 5" in caught.value.message
    assert "`tokens: 3`" in str(caught.value.hint)


def test_it_is_not_merged(make_classifier: Make) -> None:
    _, model = make_classifier()
    method = PromptTuning()
    method.attach(model)
    with pytest.raises(RecipeError, match="method: prompt-tuning") as caught:
        method.merge(model)
    assert caught.value.code == "method/not-mergeable"
