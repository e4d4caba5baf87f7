"""Norms over the root of the mean square in one operation: what transformers' give, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from burnish.engine.norms import lean_norms, norms_of


def _norm(weight: torch.dtype, *, learns: bool) -> nn.Module:
    norm = LlamaRMSNorm(48, eps=1e-5)
    with torch.no_grad():
        norm.weight += torch.linspace(-0.5, 0.5, 48)
    return norm.to(weight).requires_grad_(learns)


def _found(norm: nn.Module, states: torch.dtype, *, exact: bool = False) -> list[Tensor]:
    """What it gives under autocast for (2, 5, 48) states, and the gradients of these and of its weight."""
    given = torch.linspace(-3, 3, 2 * 5 * 48).sin().view(2, 5, 48).to(states)
    given = (given.float() if exact else given).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not exact):
        output = norm(given)
    (output.float() * torch.linspace(-2, 2, 480).cos().view(2, 5, 48)).sum().backward()
    assert given.grad is not None
    found = [output.detach(), given.grad, *(weight.grad for weight in norm.parameters() if weight.grad is not None)]
    norm.zero_grad()
    return found


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("weight", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("states", [torch.float32, torch.bfloat16])
def test_output_and_gradients_are_those_of_the_norm(states: torch.dtype, weight: torch.dtype, *, learns: bool) -> None:
    norm = _norm(weight, learns=learns)
    plain = _found(norm, states)
    with lean_norms(norm) as changed:
        assert changed == 1
        lean = _found(norm, states)
    assert "forward" not in vars(norm)
    assert len(lean) == len(plain) == 2 + learns
    assert lean[0].dtype == torch.bfloat16  # what matrices meet
    exact = _found(norm.float(), states, exact=True)
    for one, other, right in zip(lean, plain, exact, strict=True):
        usual = float((other.float() - right).norm() / right.norm())
        assert float((one.float() - right).norm() / right.norm()) <= max(0.01, 1.5 * usual)


def test_in_float32_the_norm_stays_what_it_is() -> None:
    norm, states = _norm(torch.float32, learns=True), torch.linspace(-3, 3, 96).view(2, 48)
    with lean_norms(norm):
        inside = norm(states)
    assert torch.equal(inside, norm(states))


def test_a_norm_of_another_kind_is_left_alone() -> None:
    """Gemma's adds one to its weight."""

    class OtherRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

        def forward(self, states: Tensor) -> Tensor:
            return nn.functional.rms_norm(states, (8,), 1 + self.weight, self.eps)

    other = OtherRMSNorm()
    assert [part for part, _ in norms_of(other)] == [other]
    with lean_norms(other) as changed:
        assert changed == 0
