"""Moments in eight bits: the same way down, a quarter of the memory, and exact resuming."""

from __future__ import annotations

import importlib.util
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from burnish.engine import optimizer_8bit
from burnish.engine.checkpoint import optimizer_tensors, restore_optimizer
from burnish.engine.optimizer import AdamW, build_optimizer
from burnish.engine.optimizer_8bit import AdamW8bit
from burnish.engine.options import TrainingOptions
from burnish.errors import RecipeError
from burnish.lifecycle.workbench import settled_machine
from burnish.method.full import Full
from burnish.model.fit import Learning, Shape, predict_memory
from burnish.recipe.schema import Recipe
from burnish.testing import chat_subject_over
from burnish.testing.method import check_resume

pytest.importorskip("bitsandbytes", reason="comes with the extra qlora")


class Reader(nn.Module):
    """Reads ten words, and has a weight of each kind: a table, matrices, a vector."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(200, 32)
        self.layers = nn.Sequential(nn.Linear(32, 256), nn.Tanh(), nn.Linear(256, 20))

    def loss(self) -> torch.Tensor:
        words = torch.arange(640).view(64, 10) * 7 % 200
        logits: torch.Tensor = self.layers(self.table(words).mean(1))
        return functional.cross_entropy(logits, words[:, 0] % 20)


def made(optimizer: str) -> tuple[Reader, AdamW, dict[int, str]]:
    model = Reader()
    weights = dict(model.named_parameters())
    options = TrainingOptions.model_validate({"learning_rate": 3e-3, "optimizer": optimizer})
    return model, build_optimizer(model, weights, options), {id(weight): name for name, weight in weights.items()}


def learn(model: Reader, optimizer: AdamW, steps: int) -> float:
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(model.loss().detach())


def test_the_loss_falls_as_with_exact_moments() -> None:
    exact, rounded = made("adamw"), made("adamw-8bit")
    start = float(exact[0].loss().detach())
    ends = [learn(model, optimizer, 60) for model, optimizer, _ in (exact, rounded)]
    assert ends[0] < start / 2
    assert ends[1] == pytest.approx(ends[0], rel=0.02)
    kinds = {name: value.dtype for name, value in optimizer_tensors(rounded[1], rounded[2]).items()}
    assert kinds["layers.0.weight.exp_avg"] == kinds["layers.0.weight.exp_avg_sq"] == torch.uint8
    assert kinds["table.weight.exp_avg"] == kinds["layers.0.bias.exp_avg"] == torch.float32


def test_moments_come_back_and_go_on_to_the_same_bits() -> None:
    straight, optimizer, _ = made("adamw-8bit")
    learn(straight, optimizer, 8)
    model, optimizer, names = made("adamw-8bit")
    learn(model, optimizer, 5)
    saved = {name: value.clone() for name, value in optimizer_tensors(optimizer, names).items()}
    again, fresh, names = made("adamw-8bit")
    again.load_state_dict(model.state_dict())
    restore_optimizer(fresh, saved, names)
    learn(again, fresh, 3)
    for (name, weight), (_, wanted) in zip(again.named_parameters(), straight.named_parameters(), strict=True):
        assert torch.equal(weight, wanted), name


def test_a_training_goes_on_to_the_bit(
    language_base: Path, conversations: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizer_8bit, "LEAST", 64)  # whose matrices are small
    moved: list[int] = []
    own = AdamW8bit._move_rounded

    def counted(self: Any, weight: Any, *rest: Any, **named: Any) -> None:
        moved.append(weight.numel())
        own(self, weight, *rest, **named)

    monkeypatch.setattr(AdamW8bit, "_move_rounded", counted)
    subject = chat_subject_over(str(language_base), conversations[:24])
    whole = type(subject).training
    monkeypatch.setattr(type(subject), "training", partialmethod(whole, optimizer="adamw-8bit"))
    check_resume(subject, Full(), tmp_path)
    assert moved


def test_without_bitsandbytes_it_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    recipe = Recipe.model_validate({"data": {"train": "x.csv"}, "training": {"optimizer": "adamw-8bit"}})
    with pytest.raises(RecipeError) as refused:
        settled_machine(recipe)
    assert refused.value.code == "recipe/no-8bit-moments"


def test_the_forecast_knows() -> None:
    shape = Shape(
        parameters=10_000_000, width=64, layers=4, inner=256, heads=4, vocabulary=1_000, writes=True, floats_per_image=0
    )
    found = [
        predict_memory(shape, Learning(method="full", averaged=False, eight_bits=eight), tokens=64, longest=32)
        for eight in (False, True)
    ]
    learned = found[0].gradients // 4
    assert found[0].optimizer == 8 * learned
    assert found[1].optimizer == 8 * 64_000 + 2 * (learned - 64_000)
