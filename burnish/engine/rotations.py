"""Queries and keys turned by their positions (Su et al. 2021, arXiv:2104.09864) in fewer passes over memory.

transformers writes this out: a half with another sign, both halves put together, two products and a sum, each with a
tensor of its own, and as many again for the gradient. Here one operation makes a product, to whose halves the other
ones are added where they lie. A family's own function is compared before it is replaced, where its module calls it.

Shapes: H heads, T tokens, d width of a head.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from threading import Lock
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

NAME = "apply_rotary_pos_emb"  # of the function, in the modules of most families
EXACT = 1e-6  # in float32, of numbers around one

Rotation = Callable[..., Any]  # (queries, keys, cos, sin) -> queries and keys, turned
_changed: dict[str, tuple[int, Rotation]] = {}  # module -> trainings that are in the block, and the family's function
_changing = Lock()


def rotations_of(model: nn.Module) -> list[ModuleType]:
    """The modules of the model's parts that turn queries and keys in the way that is known here."""
    names = dict.fromkeys(type(part).__module__ for part in model.modules())
    modules = [sys.modules[name] for name in names if callable(getattr(sys.modules.get(name), NAME, None))]
    return [module for module in modules if _same(getattr(module, NAME))]


@contextlib.contextmanager
def lean_rotations(model: nn.Module) -> Iterator[set[str]]:
    """Inside the block queries and keys are turned in one operation where that gives what the family gives.

    Yields:
        Modules of families that were turned so, as soon as they were.
    """
    done: set[str] = set()
    modules = rotations_of(model)
    for module in modules:
        _change(module, done)
    try:
        yield done
    finally:
        for module in modules:
            _change_back(module)


def _change(module: ModuleType, done: set[str]) -> None:
    """Puts the one operation into a family's module; of several trainings, the first one does."""
    with _changing:
        count, whole = _changed.get(module.__name__, (0, getattr(module, NAME)))
        if not count:
            setattr(module, NAME, _one_operation(whole, done))
        _changed[module.__name__] = count + 1, whole


def _change_back(module: ModuleType) -> None:
    """Puts the family's own function back, when the last training ends."""
    with _changing:
        count, whole = _changed.pop(module.__name__)
        if count > 1:
            _changed[module.__name__] = count - 1, whole
        else:
            setattr(module, NAME, whole)


def _one_operation(whole: Rotation, done: set[str]) -> Rotation:
    def turned(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *more: Any, **named: Any) -> Any:
        alike = {(each.dtype, each.shape[-1]) for each in (query, key, cos, sin)}
        learns = cos.requires_grad or sin.requires_grad
        if more or named or learns or len(alike) > 1 or cos.dim() != 3:
            return whole(query, key, cos, sin, *more, **named)
        done.add(whole.__module__)
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


@cache
def _same(whole: Rotation) -> bool:
    """Whether a few queries, keys and their gradients are the same in one operation, and in bf16 no less exact."""
    lean = _one_operation(whole, set())
    try:
        exact, rounded = _found(whole, torch.float32), _found(whole, torch.bfloat16)
        ours, ours_rounded = _found(lean, torch.float32), _found(lean, torch.bfloat16)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False  # it takes something else
    if any(one.shape != other.shape or _far(one, other) > EXACT for one, other in zip(ours, exact, strict=True)):
        return False
    usual, now = (sum(map(_far, each, exact)) for each in (rounded, ours_rounded))
    return now <= usual  # some families turn in float32


def _found(function: Rotation, dtype: torch.dtype) -> list[Tensor]:
    """(1, 8, T, d) queries and (1, 4, T, d) keys, turned, and their gradients."""
    width, tokens = 32, 16
    angles = torch.arange(tokens * width, dtype=torch.float32).sqrt().view(1, tokens, width)  # halves that differ
    states = [torch.arange(n * tokens * width).float().sin().view(1, n, tokens, width) for n in (8, 4)]
    query, key, cos, sin = (each.bfloat16().to(dtype) for each in (*states, angles.cos(), angles.sin()))
    given = [query.requires_grad_(), key.requires_grad_()]
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        query, key = function(*given, cos, sin)
        gradients = torch.autograd.grad(query.float().sin().sum() + key.float().cos().sum(), given)
    return [query.detach(), key.detach(), *gradients]


def _far(found: Tensor, exact: Tensor) -> float:
    return float((found.float() - exact).norm() / exact.norm())
