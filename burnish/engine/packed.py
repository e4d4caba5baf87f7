"""Encoders that only predict, on a CPU: products with weights laid out for oneDNN, and what follows in one operation.

Each product of torch lays its weights out anew in bf16 and adds its bias apart, and in float32 it asks a library that
some processors get less from. A family whose parts say how they are packed gets its
activation and its residual sum inside the product, other families the product alone. Where a gradient is asked for,
the model computes with its own weights, as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from burnish.engine.memory import is_out_of_memory
from burnish.model.products import Packed, can_pack, has_room

FAR = {torch.float32: 1e-4, torch.bfloat16: 0.05}  # of the largest number that a model gives

Replaced = tuple[nn.Module, str, Callable[..., Any]]  # part, the name of its method, what stands there instead


@torch.no_grad()
def hold_packed(model: nn.Module, compute: Callable[[], Tensor], dtype: torch.dtype) -> bool:
    """Lets a model compute on packed weights from now on, where it goes on to give the same. Says whether it does.

    Args:
        compute: what the model gives for some rows.
        dtype: that is multiplied in.
    """
    core: Any = getattr(model, "core", None)
    layers = [part for part in core.modules() if type(part) is nn.Linear] if isinstance(core, nn.Module) else []
    needed = sum(layer.weight.numel() for layer in layers) * dtype.itemsize
    if not layers or not can_pack() or not has_room(needed):
        return False
    before, put, same = compute(), list[Replaced](), False
    try:
        for part, name, packed in _packed(core, dtype):
            setattr(part, name, _without_gradients(packed, getattr(part, name)))
            put.append((part, name, packed))
        with torch.inference_mode():
            same = float((compute() - before).abs().max()) <= FAR[dtype] * float(before.abs().max())
    except (RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
    finally:
        if not same:
            for part, name, _ in put:
                delattr(part, name)
    return same


def _packed(core: nn.Module, dtype: torch.dtype) -> Iterator[Replaced]:
    """Parts that say how they are packed, and the linear layers that none of these has."""
    covered: set[nn.Module] = set()
    for part in core.modules():
        if "forward" in vars(part):
            continue  # somebody else computes it
        pack: Any = getattr(part, "packed", None)
        if pack is not None:
            name, packed = pack(dtype)
            covered.update(part.children())
            yield part, name, packed
        elif type(part) is nn.Linear and part not in covered:
            yield part, "forward", Packed([part], dtype)


def _without_gradients(packed: Callable[..., Any], whole: Callable[..., Any]) -> Callable[..., Any]:
    def chosen(*states: Tensor) -> Any:
        return whole(*states) if torch.is_grad_enabled() else packed(*states)

    return chosen
