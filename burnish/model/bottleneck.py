"""Narrow layers that a base was given behind its own: how they compute, and how they come and go as tensors.

A bottleneck hangs on the layer it follows, as a module called `bottleneck` and a hook: the names of the base's own
weights stay as they are, and its tensors are called after the layer, `layer.0.output.dense.bottleneck.up.weight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.errors import ModelError

MARK = ".bottleneck."


class Bottleneck(nn.Module):
    """states + up(gelu(down(states))); `up` starts at zero.

    Args:
        width: D, of the states.
        size: numbers in between.

    Source: Houlsby et al. 2019, arXiv:1902.00751.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Tensor) -> Tensor:
        added: Tensor = self.up(F.gelu(self.down(states)))
        return states + added


def insert_bottleneck(layer: Any, size: int) -> Bottleneck:
    """A new bottleneck behind a linear layer."""
    width = layer.nf if hasattr(layer, "nf") else layer.out_features  # GPT-2's layers of transformers, and torch's
    layer.bottleneck = Bottleneck(width, size).to(layer.weight.device)
    layer.register_forward_hook(_through)
    found: Bottleneck = layer.bottleneck
    return found


def bottlenecks_of(core: nn.Module) -> dict[str, Bottleneck]:
    """The bottlenecks of a base, by their names in it."""
    return {name: part for name, part in core.named_modules() if isinstance(part, Bottleneck)}


def bottleneck_tensors(core: nn.Module) -> dict[str, Tensor]:
    """What the bottlenecks of a base learned, by name."""
    parts = bottlenecks_of(core).items()
    return {f"{name}.{key}": value for name, part in parts for key, value in part.state_dict().items()}


@torch.no_grad()
def put_bottlenecks(core: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Inserts bottlenecks with these tensors.

    Raises:
        ModelError: [model/other-base] when the base lacks a layer that they follow.
    """
    for layer in sorted({name.split(MARK)[0] for name in tensors}):
        if layer not in dict(core.named_modules()):
            raise ModelError(
                "model/other-base",
                f"the adapter lies behind the layer {layer}, which {type(core).__name__} does not have",
                where="model.base",
                hint="an adapter goes on with the task it was trained for, on the base it was trained on",
            )
        weights = {key: tensors[f"{layer}{MARK}{key}"] for key in ("down.weight", "down.bias", "up.weight", "up.bias")}
        insert_bottleneck(core.get_submodule(layer), len(weights["down.bias"])).load_state_dict(weights)


def _through(layer: Any, inputs: tuple[Any, ...], states: Tensor) -> Tensor:
    behind: Tensor = layer.bottleneck(states)
    return behind
