"""Vectors that stand before every text and belong to no word: the ids after the last word of a base's vocabulary.

Such an id goes through layouts, masks, positions and caches like any other; only the table of words knows better.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class PromptedEmbedding(nn.Module):
    """A table of words that also knows the ids V .. V + tokens - 1.

    Args:
        words: the base's own table, of V words; what it multiplies its vectors with is not done to the prompt's,
            as in peft.
        tokens: further vectors; they start as those of random words.
    """

    def __init__(self, words: Any, tokens: int) -> None:
        super().__init__()
        self.words = words
        known, width = words.weight.shape
        self.prompt = nn.Embedding(tokens, width, device=words.weight.device)
        with torch.no_grad():
            drawn = torch.randint(known, (tokens,)).to(words.weight.device)
            self.prompt.weight.copy_(words(drawn))

    @property
    def weight(self) -> Tensor:
        """(V, D) of the words."""
        found: Tensor = self.words.weight
        return found

    def forward(self, ids: Tensor) -> Tensor:
        known = len(self.weight)
        beyond = ids >= known
        vectors: Tensor = self.words(ids.masked_fill(beyond, 0))
        return torch.where(beyond[..., None], self.prompt((ids - known).clamp(min=0)), vectors)


def add_prompt(core: Any, tokens: int) -> nn.Embedding:
    """A new prompt in a base's table of words."""
    table = PromptedEmbedding(core.get_input_embeddings(), tokens)
    core.set_input_embeddings(table)
    return table.prompt


def prompt_of(core: Any) -> nn.Embedding | None:
    """The vectors before every text, (tokens, D), of a base that has some."""
    table = core.get_input_embeddings() if hasattr(core, "get_input_embeddings") else None
    return table.prompt if isinstance(table, PromptedEmbedding) else None


def prompt_ids(core: Any) -> range:
    """Ids of the vectors before every text; none for a base without them."""
    prompt = prompt_of(core)
    if prompt is None:
        return range(0)
    known = len(core.get_input_embeddings().weight)
    return range(known, known + len(prompt.weight))
