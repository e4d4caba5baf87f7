"""Bottleneck adapters: a narrow layer of their own behind each attention and each feed-forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from burnish.errors import RecipeError
from burnish.method.core import core_of, learning, linear_layers, not_mergeable
from burnish.method.places import ATTENTION_OUT, FEED_FORWARD_OUT, layers_at
from burnish.model.bottleneck import bottlenecks_of, insert_bottleneck


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """Freezes the base and adds up(gelu(down(h))) to what attention and feed-forward give; the head learns whole.

    `up` starts at zero, so the first step sees exactly the base.

    Source: Houlsby et al. 2019, arXiv:1902.00751, figure 2.
    """

    name: ClassVar[str] = "adapter"
    size: int = 64  # of the bottleneck; trainable weights per place = 2 * size * width + size + width

    def attach(self, model: Module) -> Module:
        """Adds the bottlenecks to the base inside a model of burnish, or goes on with those it has.

        Raises:
            RecipeError: [method/no-place] when the base has no layer with a name of an attention or feed-forward;
                [method/other-size] when it comes from a run with other bottlenecks.
        """
        core = core_of(model)
        core.requires_grad_(False)
        found = bottlenecks_of(core)
        for bottleneck in found.values():
            if bottleneck.down.out_features != self.size:
                raise RecipeError(
                    "method/other-size",
                    f"the bottlenecks of this base have {bottleneck.down.out_features} numbers, not {self.size}",
                    where="method.size",
                    hint=f"write `size: {bottleneck.down.out_features}`, or name the base under them",
                )
            bottleneck.requires_grad_(True)
        if not found:
            for name in layers_at((ATTENTION_OUT, FEED_FORWARD_OUT), linear_layers(core), method=self.name):
                insert_bottleneck(core.get_submodule(name), self.size)
        return model

    def trainable(self, model: Module) -> Mapping[str, Tensor]:
        return learning(model)

    def merge(self, model: Module) -> Module:
        """Raises RecipeError [method/not-mergeable]: a bottleneck is not linear."""
        raise not_mergeable(self.name)
