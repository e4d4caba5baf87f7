"""Queries and keys turned by their positions (Su et al. 2021, arXiv:2104.09864) in fewer passes over memory.

transformers writes this out: a half with another sign, both halves put together, two products and a sum, each with a
tensor of its own, and as many again for the gradient. Here it is a product, to whose halves the other ones are added
where they lie. A family's own function is compared before it is replaced, where the family's module calls it.

Shapes: H heads, T tokens, d width of a head.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

NAME = "apply_rotary_pos_emb"  # of the function, in the modules of most families
EXACT = 1e-6  # in float32, of numbers around one

Rotation = Callable[..., Any]  # (queries, keys, cos, sin) -> queries and keys, turned


def rotations_of(model: nn.Module) -> list[ModuleType]:
    """The modules of the model's parts that have such a function."""
    modules = {type(part).__module__: sys.modules[type(part).__module__] for part in model.modules()}
    return [module for module in modules.values() if callable(getattr(module, NAME, None))]


@contextlib.contextmanager
def lean_rotations(model: nn.Module) -> Iterator[bool]:
    """Inside the block queries and keys are turned in one operation where that gives what the family gives.

    Yields:
        Whether any are.
    """
    changed: list[tuple[Any, Rotation]] = []
    try:
        for module in rotations_of(model):
            whole = getattr(module, NAME)
            if _same(whole):
                setattr(module, NAME, _one_operation(whole))
                changed.append((module, whole))
        yield bool(changed)
    finally:
        for module, whole in changed:
            setattr(module, NAME, whole)


def _one_operation(whole: Rotation) -> Rotation:
    def turned(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *more: Any, **named: Any) -> Any:
        alike = {(each.dtype, each.shape[-1]) for each in (query, key, cos, sin)}
        if more or named or len(alike) > 1 or cos.dim() != 3:
            return whole(query, key, cos, sin, *more, **named)
        return _Turned.apply(query, key, cos.unsqueeze(1), sin.unsqueeze(1))  # type: ignore[no-untyped-call]

    return turned


class _Turned(torch.autograd.Function):
    """(..., T, d) of queries and of keys, with (..., T, d) of cos and sin that broadcast to them."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        return _turned(query, cos, sin), _turned(key, cos, sin)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return *(_turned_back(gradient, cos, sin) for gradient in gradients), None, None


def _turned(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    product = states * cos
    (to_first, to_second), (first, second), (sin_first, sin_second) = (_halves(x) for x in (product, states, sin))
    to_first.addcmul_(second, sin_first, value=-1)
    to_second.addcmul_(first, sin_second)
    return product


def _turned_back(gradient: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    product = gradient * cos
    (to_first, to_second), (first, second), (sin_first, sin_second) = (_halves(x) for x in (product, gradient, sin))
    to_first.addcmul_(second, sin_second)
    to_second.addcmul_(first, sin_first, value=-1)
    return product


def _halves(states: Tensor) -> tuple[Tensor, Tensor]:
    half = states.shape[-1] // 2
    return states[..., :half], states[..., half:]


def _same(whole: Rotation) -> bool:
    """Whether queries, keys and their gradients are the same in one operation, on a few of them in float32."""
    width, tokens = 8, 3
    angles = torch.arange(tokens * width, dtype=torch.float32).sqrt().view(1, tokens, width)  # halves that differ
    found = []
    for way in (whole, _one_operation(whole)):
        given = [torch.arange(n * tokens * width).float().sin().view(1, n, tokens, width) for n in (4, 2)]
        given = [states.requires_grad_() for states in given]
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            try:
                query, key = way(*given, angles.cos(), angles.sin())
                gradients = torch.autograd.grad(query.sin().sum() + key.cos().sum(), given)
            except (AttributeError, RuntimeError, TypeError, ValueError):
                return False  # it takes something else
        found.append([query.detach(), key.detach(), *gradients])
    return all(
        one.shape == other.shape and float((one - other).abs().max()) <= EXACT
        for one, other in zip(*found, strict=True)
    )
