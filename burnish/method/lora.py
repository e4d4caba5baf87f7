"""LoRA: low-rank updates beside frozen linear layers, in peft's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from burnish.errors import RecipeError
from burnish.method.core import (
    core_of,
    is_transposed,
    last_layers,
    learning,
    linear_layers,
    merged,
    with_core,
    with_peft,
)
from burnish.model.libraries import open_peft
from burnish.model.quantized import merged_and_whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """Freezes the base and adds B @ A * alpha / rank to its linear layers; the head learns whole.

    B starts at zero, so the first step sees exactly the base.

    Source: Hu et al. 2021, arXiv:2106.09685; scaling by alpha / sqrt(rank): Kalajdzievski 2023, rsLoRA,
    arXiv:2312.03732; learned lengths of the weights' columns: Liu et al. 2024, DoRA, arXiv:2402.09353.
    """

    name: ClassVar[str] = "lora"
    rank: int = 16  # r; trainable weights per layer = r * (in_features + out_features)
    alpha: float = 32.0  # update is scaled by alpha / rank
    target_modules: tuple[str, ...] | None = None  # None: every linear layer except heads and unread ones
    rank_stabilized: bool = False  # rsLoRA
    decomposed: bool = False  # DoRA
    layers: int | None = None  # the last ones, which alone get updates; None: all

    def attach(self, model: Module) -> Module:
        """Adds the updates to the base inside a model of burnish, or to a bare model.

        Raises:
            RecipeError: [method/no-target] when no linear layer has one of the names; [method/too-many-layers].
        """
        open_peft()
        from peft import LoraConfig

        core = core_of(model)
        targets = self._targets(core, getattr(model, "encoder", model))
        transposed = all(is_transposed(core.get_submodule(name)) for name in targets)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            use_rslora=self.rank_stabilized,
            use_dora=self.decomposed,
            target_modules=targets,
            fan_in_fan_out=transposed,
        )
        return with_peft(model, config)

    def trainable(self, model: Module) -> Mapping[str, Tensor]:
        return learning(model)

    def merge(self, model: Module) -> Module:
        """The plain architecture with the updates added to its weights, in the weights' own precision."""
        return merged(model)

    def _targets(self, core: Module, encoder: Module) -> list[str]:
        read = linear_layers(core)
        if not read:
            raise RecipeError(
                "method/no-target",
                "this base has no linear layers for LoRA to stand beside, as convolutional ones have none",
                where="method",
                hint="write `method: full`, `method: freeze` or `method: head`",
            )
        if self.layers is not None:
            last = last_layers(encoder, self.layers, instead="leave `method.layers` out")
            above = {part for layer in last for part in layer.modules()}
            read = [name for name in read if core.get_submodule(name) in above]
        if self.target_modules is None:
            return read
        chosen = [name for name in read if any(name == t or name.endswith("." + t) for t in self.target_modules)]
        if not chosen:
            raise RecipeError(
                "method/no-target",
                f"no linear layer of this base is called {', '.join(self.target_modules)}",
                where="method.target_modules",
                known=sorted({name.rsplit(".", 1)[-1] for name in read}),
            )
        return chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class QLora(Lora):
    """LoRA beside a base whose weights were loaded in four bits; merged, the weights are whole.

    Source: Dettmers et al. 2023, arXiv:2305.14314.
    """

    name: ClassVar[str] = "qlora"

    def merge(self, model: Module) -> Module:
        """The plain architecture in float32: the four-bit weights made whole, the updates added to them."""
        return with_core(model, merged_and_whole(core_of(model)))
