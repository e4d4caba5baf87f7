"""A causal language model as the engine trains it: its body gives hidden states, its own head turns them into words."""

from __future__ import annotations

from typing import Any

from torch import nn

from burnish.errors import ModelError
from burnish.model.load import Base, load_pretrained


class LanguageModel(nn.Module):
    """A causal model of transformers, plain or with peft's adapters inside.

    Attributes:
        core: what a method attaches to and what is saved.
    """

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    @property
    def causal(self) -> Any:
        """The model of transformers, whatever is wrapped around it; its layers hold the adapters."""
        unwrap = getattr(self.core, "get_base_model", None)
        return self.core if unwrap is None else unwrap()

    @property
    def encoder(self) -> Any:
        """Its body: token ids to hidden states."""
        return getattr(self.causal, self.causal.base_model_prefix)

    def replace_core(self, core: nn.Module) -> None:
        self.core = core


def load_language_model(base: Base) -> LanguageModel:
    """The base with its language-modelling head, in float32, on the CPU.

    Raises:
        ModelError: [model/not-generative]; [model/unloadable].
    """
    require_generative(base)
    return LanguageModel(load_pretrained(base, head=True))


def require_generative(base: Base) -> None:
    """Raises ModelError [model/not-generative] for a base that does not write texts."""
    if not base.generates:
        raise ModelError(
            "model/not-generative",
            f'"{base.name}" reads texts and does not write any: it is a {base.model_type} without a language head',
            where="model.base",
            hint="name a causal language model, e.g. --set model.base=HuggingFaceTB/SmolLM2-135M-Instruct",
        )
