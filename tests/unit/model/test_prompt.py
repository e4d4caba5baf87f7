"""Ids after the last word are the prompt's; all others are words as before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from burnish.model.prompt import PromptedEmbedding, add_prompt, prompt_ids, prompt_of

Make = Callable[..., Any]


class Doubled(nn.Embedding):
    """A table that scales what it gives, as Gemma's does."""

    def forward(self, ids: Tensor) -> Tensor:
        return 2 * super().forward(ids)


def test_words_and_vectors_of_the_prompt_in_one_row() -> None:
    torch.manual_seed(0)
    words = Doubled(5, 3)
    table = PromptedEmbedding(words, 2)
    found = table(torch.tensor([[5, 6, 0, 4]]))
    expected = torch.stack([table.prompt.weight[0], table.prompt.weight[1], 2 * words.weight[0], 2 * words.weight[4]])
    assert torch.equal(found[0], expected)
    assert table.weight is words.weight


def test_it_starts_as_the_words_are_given() -> None:
    torch.manual_seed(0)
    words = Doubled(5, 3)
    start = PromptedEmbedding(words, 4).prompt.weight
    assert all(bool((2 * words.weight == vector).all(dim=1).any()) for vector in start)


def test_the_ids_of_a_bases_prompt(make_classifier: Make) -> None:
    _, model = make_classifier()
    known = len(model.encoder.get_input_embeddings().weight)
    assert prompt_of(model.encoder) is None
    assert len(prompt_ids(model.encoder)) == 0
    assert len(prompt_ids(nn.Linear(2, 2))) == 0, "a module without a table of words has no prompt"
    prompt = add_prompt(model.encoder, 3)
    assert prompt_of(model.encoder) is prompt
    assert list(prompt_ids(model.encoder)) == [known, known + 1, known + 2]
