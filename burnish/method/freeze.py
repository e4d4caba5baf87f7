"""Freeze: the last layers of the base learn, what lies below them stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from burnish.method.core import last_layers, learning


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
        layers = last_layers(getattr(model, "encoder", model), self.layers, instead="write `method: full`")
        model.requires_grad_(False)
        for layer in layers:
            layer.requires_grad_(True)
        head = getattr(model, "head", None)
        if isinstance(head, Module):
            head.requires_grad_(True)
        return model

    def trainable(self, model: Module) -> Mapping[str, Tensor]:
        return learning(model)

    def merge(self, model: Module) -> Module:
        return model
