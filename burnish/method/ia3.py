"""IA3: one learned factor for each key, value and inner feed-forward activation, in peft's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from burnish.method.core import core_of, is_transposed, learning, linear_layers, merged, with_peft
from burnish.method.places import FEED_FORWARD_OUT, KEYS_AND_VALUES, layers_at
from burnish.model.libraries import open_peft


@dataclass(frozen=True, kw_only=True, slots=True)
class IA3:
    """Freezes the base and multiplies what its keys, values and feed-forward layers compute; the head learns whole.

    All factors start at one, so the first step sees exactly the base. Where a family projects queries, keys and
    values at once, the queries have factors too; where its experts are no linear layers, the feed-forward has none.

    Source: Liu et al. 2022, T-Few, arXiv:2205.05638, section 3.3.
    """

    name: ClassVar[str] = "ia3"

    def attach(self, model: Module) -> Module:
        """Adds the factors to the base inside a model of burnish, or to a bare model.

        Raises:
            RecipeError: [method/no-place] when the base has no layer with a name of a key, value or feed-forward.
        """
        open_peft()
        from peft import IA3Config

        core = core_of(model)
        targets = layers_at((KEYS_AND_VALUES, FEED_FORWARD_OUT), linear_layers(core), method=self.name)
        config = IA3Config(
            target_modules=targets,
            feedforward_modules=[name for name in targets if FEED_FORWARD_OUT.search(name)],
            fan_in_fan_out=all(is_transposed(core.get_submodule(name)) for name in targets),
        )
        return with_peft(model, config)

    def trainable(self, model: Module) -> Mapping[str, Tensor]:
        return learning(model)

    def merge(self, model: Module) -> Module:
        """The plain architecture with the factors multiplied into its weights, in the weights' own precision."""
        return merged(model)
