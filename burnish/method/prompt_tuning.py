"""Prompt tuning: learned vectors before every text, in peft's format; the base stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from burnish.errors import RecipeError
from burnish.method.core import core_of, learning, not_mergeable
from burnish.model.prompt import add_prompt, prompt_of


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptTuning:
    """Freezes the base and learns vectors of words that no text has; they stand before every segment.

    They start as the vectors of random words of the base. A classifier's head learns with them.

    Source: Lester et al. 2021, arXiv:2104.08691.
    """

    name: ClassVar[str] = "prompt-tuning"
    tokens: int = 20  # trainable weights = tokens * width

    def attach(self, model: Module) -> Module:
        """Adds the vectors to the base inside a model of burnish, or goes on with those it has.

        Raises:
            RecipeError: [method/other-size] when the base comes from a run with another number of them.
        """
        core = core_of(model)
        core.requires_grad_(False)
        prompt = prompt_of(core)
        if prompt is None:
            prompt = add_prompt(core, self.tokens)
        elif len(prompt.weight) != self.tokens:
            raise RecipeError(
                "method/other-size",
                f"this base has a prompt of {len(prompt.weight)} vectors, not of {self.tokens}",
                where="method.tokens",
                hint=f"write `tokens: {len(prompt.weight)}`, or name the base under it",
            )
        prompt.requires_grad_(True)
        return model

    def trainable(self, model: Module) -> Mapping[str, Tensor]:
        return learning(model)

    def merge(self, model: Module) -> Module:
        """Raises RecipeError [method/not-mergeable]: no table of words has a place for the vectors."""
        raise not_mergeable(self.name)
