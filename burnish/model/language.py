"""A language model as the engine trains it: its body gives hidden states, its own head turns them into words."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from burnish.errors import ModelError
from burnish.model.device import DEVICES, held_dtype
from burnish.model.load import Base, load_pretrained, require_one_stack

ALIKE = 1e-2  # of a vector's length: closer ones are the same for the head


class LanguageModel(nn.Module):
    """A causal model of transformers, or an encoder with a decoder, plain or with peft's adapters inside.

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
        """Its body: token ids to hidden states. An encoder with a decoder may be its own body, as T5 is."""
        return self.causal.base_model

    def replace_core(self, core: nn.Module) -> None:
        self.core = core

    def as_base(self) -> AbstractContextManager[None]:
        """Inside the block adapters of peft are off, and the base under them answers."""
        off = getattr(self.core, "disable_adapter", None)
        return contextlib.nullcontext() if off is None else off()


def has_two_stacks(model: Any) -> bool:
    """Whether it is an encoder with a decoder; one of the two alone keeps the settings of both."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return False
    return model.get_encoder() is not model.get_decoder()


def load_language_model(base: Base, device: torch.device | None = None, *, frozen: bool = False) -> LanguageModel:
    """The base with its language-modelling head, in float32, on the CPU.

    Args:
        device: reads it straight to a GPU.
        frozen: its weights will not learn, and are computed with in bf16: they may be kept in it, see `held_dtype`.

    Raises:
        ModelError: [model/not-generative]; [model/unloadable].
    """
    if not base.has_decoder:
        require_generative(base)
    if device is None or device.type not in DEVICES:
        return LanguageModel(load_pretrained(base, head=True))
    dtype = held_dtype(base, device, frozen=frozen)
    return LanguageModel(load_pretrained(base, head=True, device=str(device), dtype=dtype))


def untrained_tokens(model: LanguageModel, token_ids: Sequence[int]) -> dict[int, int]:
    """Those of some tokens that the head cannot tell from others, and how many others: nobody ever trained them.

    Tokens that a pretraining never saw keep the vector they began with, or were all pulled to the same one. While the
    head stays as it is, none of them can become the likeliest.
    """
    weight_VD = model.causal.get_output_embeddings().weight.detach()
    found: dict[int, int] = {}
    for token in token_ids:
        own_D = weight_VD[token]
        room = ALIKE * float(own_D.norm())
        near = (weight_VD[:, 0] - own_D[0]).abs() <= room  # one column first: the whole table would be copied
        others = int(((weight_VD[near] - own_D).norm(dim=1) <= room).sum()) - 1
        if others:
            found[token] = others
    return found


def require_generative(base: Base) -> None:
    """Raises ModelError for a base that goes on no text.

    Raises:
        ModelError: [model/encoder-decoder]; [model/not-generative].
    """
    require_one_stack(base)
    if not base.generates:
        raise ModelError(
            "model/not-generative",
            f'"{base.name}" reads texts and does not write any: it is a {base.model_type} without a language head',
            where="model.base",
            hint="name a causal language model, e.g. --set model.base=HuggingFaceTB/SmolLM2-135M-Instruct",
        )
