"""Head only: the base stays frozen and a linear head is solved to convergence on its vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from burnish.method.core import learning


class Head:
    """Nothing of the base learns. There are no steps: `burnish.method.probe` solves the head exactly."""

    name: ClassVar[str] = "head"

    def attach(self, model: Module) -> Module:
        model.requires_grad_(False)
        head = getattr(model, "head", None)
        if head is not None:
            head.requires_grad_(True)
        return model

    def trainable(self, model: Module) -> Mapping[str, Tensor]:
        return learning(model)

    def merge(self, model: Module) -> Module:
        return model
