"""Encoders on packed weights: the same numbers, gradients by their own weights, given up where numbers change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.bf16_weights import held_in_bf16
from burnish.engine.layout import LaidOut
from burnish.engine.layout_choice import choose_layout
from burnish.engine.packed import hold_packed
from burnish.model import products
from burnish.model.bert import open_bert
from burnish.model.pooled import PooledEncoder
from burnish.model.products import Packed, can_pack

Make = Callable[..., Any]
CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN")


@pytest.fixture
def model(make_base: Make) -> PooledEncoder:
    """A random BERT, as we compute it."""
    core = open_bert(make_base(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    assert core is not None
    return PooledEncoder(core, pooling="mean", normalize=False)


def _computing(model: Any, rows: Any, *, rounds: bool = False) -> Callable[[], Tensor]:
    """What the model gives for the rows, laid out as they are in prediction."""
    choice = choose_layout(model.encoder, rows, device=CPU)
    model.eval()

    def compute() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=rounds):
            batch = LaidOut(rows, range(len(rows)), padded=choice.padded, device=CPU)
            found: Tensor = model(batch).float()
        return found

    return compute


def _replaced(model: nn.Module) -> list[str]:
    return [
        name for name, part in model.named_modules() for method in ("forward", "_projected") if method in vars(part)
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_our_own_encoder_gives_the_same_with_all_its_parts_packed(
    model: Any, make_rows: Make, dtype: torch.dtype
) -> None:
    rounds, rows = dtype == torch.bfloat16, make_rows([7, 3, 12, 7, 5])
    compute = _computing(model, rows, rounds=rounds)
    with torch.no_grad():
        plain = compute()
        assert not rounds or held_in_bf16(model, compute)
        assert hold_packed(model, compute, dtype)
        found = compute()
    parts = ("attention.self", "attention.output", "intermediate", "output")
    assert set(_replaced(model.core.encoder)) == {f"layer.{layer}.{part}" for layer in range(2) for part in parts}
    room = 1e-4 if dtype == torch.float32 else 0.05
    assert float((found - plain).abs().max()) <= room * float(plain.abs().max())


@pytest.mark.parametrize("family", ["roberta", "distilbert", "modernbert", "mpnet"])
def test_of_other_families_the_linear_layers_are_packed(encoder: Make, make_rows: Make, family: str) -> None:
    model = PooledEncoder(encoder(family), pooling="mean", normalize=False)
    compute = _computing(model, make_rows([7, 3, 12]))
    plain = compute().detach()
    assert hold_packed(model, compute, torch.float32)
    assert _replaced(model.core)
    with torch.inference_mode():
        torch.testing.assert_close(compute(), plain, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_models_own_weights(model: Any, make_rows: Make) -> None:
    compute = _computing(model, make_rows([7, 3]))
    compute().sum().backward()  # type: ignore[no-untyped-call]
    expected = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    assert hold_packed(model, compute, torch.float32)
    compute().sum().backward()  # type: ignore[no-untyped-call]
    found = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_numbers_that_change_or_too_little_memory_leave_the_model_as_it_is(
    model: Any, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = _computing(model, make_rows([7, 3]))
    plain = compute().detach()
    with monkeypatch.context() as patch:
        patch.setattr(products, "MEMORY_SHARE", 0.0)
        assert not hold_packed(model, compute, torch.float32)
    with monkeypatch.context() as patch:
        patch.setattr(Packed, "plus", lambda self, states, others: self(states))  # forgets what it is added to
        assert not hold_packed(model, compute, torch.float32)
    assert _replaced(model) == []
    assert torch.equal(compute().detach(), plain)
