"""Queries and keys turned in one operation: what families compute themselves, with its gradients."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.rotations import NAME, lean_rotations, rotations_of

FAMILIES = [
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "granite",
    "olmo2",
    "smollm3",
    "phi",
    "stablelm",
    "gpt_neox",
    "starcoder2",
]
OTHERS = ("cohere", "glm", "codegen")  # pairs of neighbours, another signature
ITSELF_IN_FLOAT32 = ("modernbert", "esm", "hunyuan_vl")


def _module(family: str) -> ModuleType:
    return importlib.import_module(f"transformers.models.{family}.modeling_{family}")


def _standing_in(module: ModuleType) -> nn.Module:
    """A part that comes from a family's module."""
    return type("Attention", (nn.Module,), {"__module__": module.__name__})()


def _found(function: Any, dtype: torch.dtype) -> list[Tensor]:
    """Queries (2, 4, 5, 16) and keys (2, 2, 5, 16), turned, and their gradients."""
    angles = (torch.arange(5.0)[:, None] * torch.logspace(0, -3, 8)).repeat(1, 2)[None]
    given = [torch.linspace(-3, 3, 2 * n * 5 * 16).sin().view(2, n, 5, 16).to(dtype).requires_grad_() for n in (4, 2)]
    query, key = function(*given, angles.cos().to(dtype), angles.sin().to(dtype))
    (query.float().square().cos().sum() + key.float().sin().sum()).backward()
    return [query.detach(), key.detach(), *(each.grad for each in given if each.grad is not None)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_turned_as_it_turns_itself(family: str) -> None:
    module = _module(family)
    own = getattr(module, NAME)
    exact, rounded = _found(own, torch.float32), _found(own, torch.bfloat16)
    with lean_rotations(_standing_in(module)) as done:
        assert getattr(module, NAME) is not own
        assert not done
        lean, lean_rounded = (_found(getattr(module, NAME), dtype) for dtype in (torch.float32, torch.bfloat16))
        assert done == {module.__name__}
    assert getattr(module, NAME) is own
    for one, other, plain, right in zip(lean, lean_rounded, rounded, exact, strict=True):
        torch.testing.assert_close(one, right, rtol=1e-6, atol=1e-6)
        usual = float((plain.float() - right).norm())
        assert other.dtype == plain.dtype
        assert float((other.float() - right).norm()) <= 1.2 * usual


@pytest.mark.parametrize("family", OTHERS + ITSELF_IN_FLOAT32)
def test_a_family_that_turns_otherwise_or_more_exactly_is_left_alone(family: str) -> None:
    module = _module(family)
    own = getattr(module, NAME, None)
    assert rotations_of(_standing_in(module)) == []
    with lean_rotations(_standing_in(module)) as done:
        assert getattr(module, NAME, None) is own
    assert not done


@pytest.mark.parametrize("case", ["another precision", "a part of the width", "by name", "angles that learn"])
def test_what_is_not_known_is_left_to_the_family(case: str) -> None:
    module = _module("llama")
    states = torch.linspace(-1, 1, 2 * 3 * 8).view(1, 2, 3, 8)
    angles = torch.linspace(0, 2, 3 * 8).view(1, 3, 8).requires_grad_(case == "angles that learn")
    cos, sin, named = angles.cos(), angles.sin(), {}
    if case == "another precision":
        states = states.bfloat16()
    if case == "a part of the width":
        cos, sin = cos[..., :1], sin[..., :1]
    if case == "by name":
        named = {"unsqueeze_dim": 1}
    with lean_rotations(_standing_in(module)) as done:
        found = getattr(module, NAME)(states, states, cos, sin, **named)
    assert not done
    expected = getattr(module, NAME)(states, states, cos, sin, **named)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert found[0].requires_grad == (case == "angles that learn")


def test_of_trainings_that_overlap_the_last_one_puts_the_function_back() -> None:
    module = _module("llama")
    own, second = getattr(module, NAME), lean_rotations(_standing_in(module))
    with lean_rotations(_standing_in(module)):
        second.__enter__()
    assert getattr(module, NAME) is not own
    second.__exit__(None, None, None)
    assert getattr(module, NAME) is own


def test_the_function_comes_back_when_a_training_breaks_off() -> None:
    module = _module("llama")
    own = getattr(module, NAME)
    with pytest.raises(KeyError), lean_rotations(_standing_in(module)):
        raise KeyError
    assert getattr(module, NAME) is own


def test_a_model_without_rotations_has_none() -> None:
    assert rotations_of(nn.Linear(2, 2)) == []
    with lean_rotations(nn.Linear(2, 2)) as done:
        assert not done
    elsewhere = type("Part", (nn.Module,), {"__module__": "not.there"})
    assert rotations_of(elsewhere()) == []
