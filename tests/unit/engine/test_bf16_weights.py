"""Steps on bf16 copies: gradients like those of autocast, exact after a resume, refused where the loss changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.bf16_weights import Bf16Weights, bf16_weights, held_in_bf16
from burnish.engine.layout import LaidOut
from burnish.engine.layout_choice import choose_layout
from burnish.engine.loop import Training
from burnish.model.pooled import PooledEncoder
from burnish.types import Silent

Make = Callable[..., Any]
MakeTraining = Callable[..., Training]
CPU = torch.device("cpu")


def gradient_of(model: PooledEncoder, weights: list[nn.Parameter], rows: Any, choice: Any, *, autocast: bool) -> Tensor:
    """The gradient of all weights, one after the other, of some sum of the pooled states."""
    batch = LaidOut(rows, range(len(rows)), padded=choice.padded, device=CPU, position_offset=choice.position_offset)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        pooled = model(batch)
    outer = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1))
    (pooled * outer).sum().backward()  # type: ignore[no-untyped-call]
    found = [torch.zeros_like(weight) if weight.grad is None else weight.grad.float() for weight in weights]
    for weight in weights:
        weight.grad = None
    return torch.cat([gradient.flatten() for gradient in found])


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "llama", "qwen", "mixtral", "mpnet"])
def test_gradients_are_about_as_near_to_float32_as_those_of_autocast(
    encoder: Make, family: str, make_rows: Make
) -> None:
    base, rows = encoder(family), make_rows([7, 3, 12, 7, 5])
    choice = choose_layout(base, rows, device=CPU)
    model = PooledEncoder(base, pooling="mean", normalize=False)
    weights = list(model.parameters())
    exact = gradient_of(model, weights, rows, choice, autocast=False)
    usual = gradient_of(model, weights, rows, choice, autocast=True)
    copies = Bf16Weights(model, dict(model.named_parameters()))
    with copies.inside():
        assert sum(weight.dtype == torch.bfloat16 for weight in model.parameters()) == len(copies.masters) > 0
        found = gradient_of(model, weights, rows, choice, autocast=True)
    assert float((found - exact).norm()) <= 2.0 * float((usual - exact).norm())
    assert [id(weight) for weight in model.parameters()] == [id(weight) for weight in weights]


def test_gradients_of_several_micro_batches_are_added_up_in_float32(encoder: Make, make_rows: Make) -> None:
    base, rows = encoder("bert"), make_rows([7])
    choice = choose_layout(base, rows, device=CPU)
    model = PooledEncoder(base, pooling="mean", normalize=False)
    copies = Bf16Weights(model, dict(model.named_parameters()))
    weight, once = base.encoder.layer[0].output.dense.weight, None
    with copies.inside():
        for _ in range(300):
            batch = LaidOut(rows, [0], padded=choice.padded, device=CPU)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                model(batch).sum().backward()
            if once is None:
                once = weight.grad.clone()
    torch.testing.assert_close(weight.grad, 300 * once, rtol=1e-4, atol=0)  # bf16 cannot count beyond 256


class _Reader(nn.Module):
    """A table, a layer, and a head that may be the table again."""

    def __init__(self, *, tied: bool, padding: int | None) -> None:
        super().__init__()
        self.core = nn.Module()
        self.core.table, self.core.layer = nn.Embedding(6, 8, padding_idx=padding), nn.Linear(8, 8)
        self.core.head = nn.Linear(8, 6, bias=False)
        if tied:
            self.core.head.weight = self.core.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        core: Any = self.core
        read: Tensor = core.head(core.layer(core.table(ids)))
        return read


@pytest.mark.parametrize("padding", [None, 0])
@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_of_a_table_is_added_up_where_it_is_kept(*, tied: bool, padding: int | None) -> None:
    """Of words that come twice, of several passes, beside the head's, without the padding's."""
    torch.manual_seed(3)
    model = _Reader(tied=tied, padding=padding)
    passes = [torch.tensor([[0, 1, 1, 4]]), torch.tensor([[1, 5]])]
    for ids in passes:
        model(ids).sin().sum().backward()
    exact = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    with Bf16Weights(model, dict(model.named_parameters())).inside():
        for ids in passes:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = model(ids)
            output.float().sin().sum().backward()
        assert "forward" in vars(model.core.table)
    assert "forward" not in vars(model.core.table)
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert found.keys() == exact.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient.float(), exact[name], rtol=0.05, atol=0.05)
    table = model.core.table.weight.grad
    assert table.dtype == torch.float32
    assert bool(table[2].any()) == tied  # no row has this word: only the head's gradient is there


def test_a_table_that_does_more_than_look_up_keeps_its_own_gradient() -> None:
    for table in (nn.Embedding(6, 8, max_norm=1.0), nn.Embedding(6, 8, scale_grad_by_freq=True)):
        model = _Reader(tied=False, padding=None)
        model.core.table = table
        with Bf16Weights(model, dict(model.named_parameters())).inside():
            assert "forward" not in vars(table)


class _Stop(Silent):
    def advance(self, done: int, total: int, figures: Any) -> None:
        if "loss" in figures and done == 8:
            raise KeyboardInterrupt


def test_a_training_that_goes_on_ends_with_the_bits_of_one_that_never_stopped(
    make_training: MakeTraining, tmp_path: Path
) -> None:
    told: dict[str, Any] = {"precision": "bf16", "checkpoint": {"every_steps": 3}}
    whole = make_training(tmp_path / "whole", **told)
    whole.run()
    assert whole.copies is not None
    with pytest.raises(KeyboardInterrupt):
        make_training(tmp_path / "parts", progress=_Stop(), **told).run()
    parts = make_training(tmp_path / "parts", **told)
    parts.run()
    assert parts.first_step == 6
    for name, weight in whole.trainable.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, parts.trainable[name]), name


def test_copies_are_refused_where_they_change_the_loss(make_training: MakeTraining, tmp_path: Path) -> None:
    """A layer that reads its weights in another way when they are bf16."""

    class Odd(nn.Linear):
        def forward(self, states: Tensor) -> Tensor:
            return super().forward(states) * (1.0 if self.weight.dtype == torch.float32 else -1.0)

    def odd(model: nn.Module) -> None:
        for part in model.modules():
            if isinstance(part, nn.Linear):
                part.__class__ = Odd

    training = make_training(tmp_path / "plain", precision="bf16")
    odd(training.passes.model.core)  # type: ignore[arg-type]
    copies, reason = bf16_weights(training.model, training.trainable, training.passes, max_tokens=1024)
    assert copies is None
    assert "copies give a loss of" in reason
    assert bf16_weights(training.model, {}, training.passes, max_tokens=1024)[1].endswith("no matrix learns")


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "llama", "qwen", "mixtral", "mpnet"])
def test_a_model_that_predicts_is_held_in_bf16_where_it_gives_the_same(
    encoder: Make, family: str, make_rows: Make
) -> None:
    base, rows = encoder(family).eval(), make_rows([7, 3, 12, 7, 5])
    choice = choose_layout(base, rows, device=CPU)
    model = PooledEncoder(base, pooling="mean", normalize=True).eval()

    def compute() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found: Tensor = model(choice.lay_out(rows, range(len(rows)), device=CPU))
        return found

    with torch.inference_mode():
        usual = compute()
        assert held_in_bf16(model, compute)
        assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
        assert float((compute() - usual).abs().max()) < 0.05


def test_a_model_that_gives_something_else_in_bf16_keeps_its_weights(encoder: Make, make_rows: Make) -> None:
    base = encoder("bert").eval()
    model = PooledEncoder(base, pooling="mean", normalize=True).eval()
    weight = base.encoder.layer[0].output.dense.weight
    answers = iter([torch.ones(2, 4), torch.tensor([[1.0, 1.0, 1.0, 0.9], [1.0, 1.0, 1.0, 1.0]])])
    assert not held_in_bf16(model, lambda: next(answers))
    assert base.encoder.layer[0].output.dense.weight is weight
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_long_mean_of_narrow_numbers_is_not_cut_short(make_rows: Make) -> None:
    batch = LaidOut(make_rows([2000]), [0], padded=False, device=CPU)
    mean = batch.mean(torch.full((2000, 2), 1.0, dtype=torch.bfloat16))
    assert mean.dtype == torch.float32
    assert float((mean - 1.0).abs().max()) < 1e-6
