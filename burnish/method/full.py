"""Full fine-tuning: every weight the model reads learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from burnish.method.core import learning


class Full:
    """All weights of base and head learn; nothing is added, so there is nothing to merge."""

    name: ClassVar[str] = "full"

    def attach(self, model: Module) -> Module:
        """Leaves the model as it is: weights that were frozen because nobody reads them stay frozen."""
        return model

    def trainable(self, model: Module) -> Mapping[str, Tensor]:
        return learning(model)

    def merge(self, model: Module) -> Module:
        return model
