"""Layers computed again for their gradient, instead of keeping what it needs: more time, far less memory.

Only where single rows do not fit into a GPU otherwise. What a pass is told beside its arguments (segments, draws of
dropout, positions that are read) is told again, in the thread that computes gradients; so the numbers are the same.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

DEVICES = ("cuda",)  # a CPU with too little memory has no time to lose either


class Recompute:
    """The layers of a model, computed once as they are, or again when asked for.

    Args:
        model: with the method attached.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        stacks = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) > 1]
        self._layers: list[Any] = [*max(stacks, key=len)] if stacks and device.type in DEVICES else []
        self._before: list[tuple[Any, Any]] = []  # layer, and the forward it had of its own, if any

    def begin(self) -> bool:
        """Computes layers again from now on; False when they are already, or there are none."""
        if self._before or not self._layers:
            return False
        for layer in self._layers:
            self._before.append((layer, layer.__dict__.get("forward")))
            layer.forward = _again(layer.forward)
        return True

    def end(self) -> None:
        """Leaves the layers as they were."""
        for layer, own in self._before:
            if own is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = own
        self._before = []


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    def computed(*arguments: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **named)
        told = contextvars.copy_context()
        with set_checkpoint_early_stop(False):  # else a group of layers could stop between two of them
            return checkpoint(partial(told.run, forward), *arguments, use_reentrant=False, **named)

    return computed
