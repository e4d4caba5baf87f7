"""Freeze: the last layers of the base learn, what lies below them stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import Module

from burnish.errors import RecipeError
from burnish.method.core import learning
from burnish.model.language import has_two_stacks


@dataclass(frozen=True, kw_only=True, slots=True)
class Freeze:
    """The last layers and the task's own head learn; nothing is added, so there is nothing to merge.

    No gradient flows below the layers that learn: the backward pass ends there.
    """

    name: ClassVar[str] = "freeze"
    layers: int = 2

    def attach(self, model: Module) -> Module:
        """Freezes the model but for its last layers.

        Raises:
            RecipeError: [method/too-many-layers] when the base has fewer.
        """
        layers = _layers(getattr(model, "encoder", model))
        if self.layers > len(layers):
            raise RecipeError(
                "method/too-many-layers",
                f"{self.layers} layers are to learn, this base has {len(layers)}",
                where="method.layers",
                hint="write `method: full` to let all of them learn",
            )
        model.requires_grad_(False)
        for layer in layers[-self.layers :]:
            layer.requires_grad_(True)
        head = getattr(model, "head", None)
        if isinstance(head, Module):
            head.requires_grad_(True)
        return model

    def trainable(self, model: Module) -> Mapping[str, Tensor]:
        return learning(model)

    def merge(self, model: Module) -> Module:
        return model


def _layers(encoder: Any) -> list[Module]:
    """The stack of layers, the lowest first; of an encoder with a decoder that of the decoder, which has the end."""
    if has_two_stacks(encoder):
        lists = (part for part in encoder.get_decoder().modules() if isinstance(part, nn.ModuleList))
        return list(next(lists))  # the outermost: T5's layers are lists themselves
    stacks = [part for part in encoder.modules() if isinstance(part, nn.ModuleList)]
    return list(max(stacks, key=len, default=()))
