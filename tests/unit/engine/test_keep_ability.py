"""Old rows mixed in and pulls to the start: exact in every gradient, whatever the micro-batches are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.keep_ability import (
    UpdatePull,
    WeightPull,
    build_pulls,
    fisher_information,
)
from burnish.engine.loop import Training
from burnish.engine.options import KeepAbilityOptions
from burnish.engine.replay import replayed_rows
from burnish.method.lora import Lora
from tests.unit.engine.conftest import PLACE

MakeTraining = Callable[..., Training]


@pytest.mark.parametrize("strength", [0.5, torch.tensor([[0.1, 2.0, 0.0], [1.0, 0.5, 3.0]])], ids=["l2", "ewc"])
def test_the_pull_of_a_weight_is_the_gradient_of_its_penalty(strength: Tensor | float) -> None:
    start, weight = torch.randn(2, 3), nn.Parameter(torch.randn(2, 3))
    weight.grad = torch.ones(2, 3)
    penalty = WeightPull(weight, start, strength).add_gradient(4.0)
    again = weight.detach().clone().requires_grad_(True)
    expected = 0.5 * (strength * (again - start) ** 2).sum()
    (gradient,) = torch.autograd.grad(expected, again)
    torch.testing.assert_close(penalty, expected.detach())
    torch.testing.assert_close(weight.grad, torch.ones(2, 3) + 4.0 * gradient)


@pytest.mark.parametrize("strength", [0.5, torch.rand(4, 3)], ids=["l2", "ewc"])
def test_the_pull_of_a_lora_layer_is_the_gradient_of_the_penalty_on_its_update(strength: Tensor | float) -> None:
    a, b = nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(4, 2))
    penalty = UpdatePull(a, b, 1.5, strength).add_gradient(2.0)
    a2, b2 = (weight.detach().clone().requires_grad_(True) for weight in (a, b))
    expected = 0.5 * (strength * (1.5 * b2 @ a2) ** 2).sum()
    of_a, of_b = torch.autograd.grad(expected, (a2, b2))
    torch.testing.assert_close(penalty, expected.detach())
    torch.testing.assert_close(a.grad, 2.0 * of_a)
    torch.testing.assert_close(b.grad, 2.0 * of_b)


def test_the_fisher_information_is_the_mean_square_of_each_rows_gradient(
    make_training: MakeTraining, make_rows: Callable[..., Any], tmp_path: Path
) -> None:
    training = make_training(tmp_path)
    rows, weights = make_rows([4, 7, 5]), list(training.trainable.values())
    found = fisher_information(training.passes.task, training.model, rows, weights, **PLACE)
    expected = [torch.zeros_like(weight) for weight in weights]
    for row in rows:
        training.model.zero_grad()
        batch = training.passes.layout.lay_out([row], [0], device=training.passes.device)
        training.passes.task.loss(training.model, batch).total.backward()  # type: ignore[no-untyped-call]
        for total, weight in zip(expected, weights, strict=True):
            total += 0 if weight.grad is None else weight.grad**2 / 3
    torch.testing.assert_close(found, expected)
    assert any(bool((fisher > 0).any()) for fisher in found)


def test_beside_lora_the_frozen_weights_are_measured_and_stay_frozen(
    make_training: MakeTraining, make_rows: Callable[..., Any], tmp_path: Path
) -> None:
    training = make_training(tmp_path, method=Lora(rank=2))
    options = KeepAbilityOptions(rows="old", ewc=2.0, l2_to_start=0.5)
    pulls, strengths = build_pulls(
        training.model, training.trainable, options, task=training.passes.task, rows=make_rows([4, 7, 5]), **PLACE
    )
    updates = [pull for pull in pulls if isinstance(pull, UpdatePull)]
    heads = [pull for pull in pulls if isinstance(pull, WeightPull)]
    assert len(updates) == 12, "six linear layers in each of two layers"
    assert len(heads) + 2 * len(updates) == len(training.trainable)
    assert all(pull.strength.shape == (len(pull.b), pull.a.shape[1]) for pull in updates)  # type: ignore[union-attr]
    assert all(float(strength.min()) >= 0.5 for strength in strengths), "l2_to_start under every one of them"
    assert {name for name, w in training.model.named_parameters() if w.requires_grad} == set(training.trainable)


def mean_gradient(training: Training, rows: list[Any], ids: list[int]) -> dict[str, Tensor]:
    """Of the mean loss over some rows, by autograd on the same model without dropout; zeros where none arrives."""
    batch = training.passes.layout.lay_out(rows, ids, device=training.passes.device)
    term = training.passes.task.loss(training.model, batch)
    found = torch.autograd.grad(term.total / term.weight, list(training.trainable.values()), materialize_grads=True)
    return dict(zip(training.trainable, found, strict=True))


@pytest.mark.parametrize("micro_batch_tokens", [16, 4096])
def test_a_step_with_replay_and_a_pull_is_the_weighted_sum_of_its_parts(
    make_training: MakeTraining, make_rows: Callable[..., Any], tmp_path: Path, micro_batch_tokens: int
) -> None:
    """(1 - w) * mean(new) + w * mean(kept) + pull, for any size of the micro-batches."""
    kept = make_rows([5, 9, 6, 4, 8], seed=3)
    training = make_training(
        tmp_path,
        kept_rows=kept,
        keep_ability={"rows": "old", "replay": 0.25, "l2_to_start": 0.3},
        micro_batch_tokens=micro_batch_tokens,
        dropout=0.0,
        max_grad_norm=1e9,
    )
    training._fix_pulls()
    with torch.no_grad():
        for weight in training.trainable.values():
            weight += 0.01
    training.model.train()
    new = training._rows_of_step()
    old = replayed_rows(0, count=3, rows=5, seed=training.options.seed)  # 0.25 / 0.75 * 8 rows
    of_new = mean_gradient(training, [training.passes.rows[i] for i in new], new)
    of_kept = mean_gradient(training, [kept[i] for i in old], old)
    found: dict[str, Tensor] = {}
    training.optimizer.step = lambda factor: found.update(  # type: ignore[method-assign,assignment,return-value]
        {name: weight.grad * factor for name, weight in training.trainable.items() if weight.grad is not None}
    )
    training._step(new)
    assert found.keys() == training.trainable.keys(), "a pull reaches every weight"
    for name, gradient in found.items():
        expected = 0.75 * of_new[name] + 0.25 * of_kept[name] + 0.3 * 0.01
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_journal_has_the_loss_of_the_kept_rows_and_the_penalty(
    make_training: MakeTraining, make_rows: Callable[..., Any], tmp_path: Path
) -> None:
    keep = {"rows": "old", "replay": 0.5, "ewc": 10.0}
    training = make_training(tmp_path, kept_rows=make_rows([5, 9, 6]), keep_ability=keep)
    training.run()
    lines = [line for line in training.folder.rows(training.folder.metrics) if "loss" in line]
    assert all(line["replay_loss"] > 0 for line in lines)
    assert lines[0]["penalty"] == 0.0, "at the start nothing has departed"
    assert lines[-1]["penalty"] > 0


def test_a_strong_pull_keeps_the_weights_where_they_began(make_training: MakeTraining, tmp_path: Path) -> None:
    moved = {}
    for strength in (0.0, 100.0):
        training = make_training(tmp_path / str(strength), keep_ability={"l2_to_start": strength})
        start = {name: weight.detach().clone() for name, weight in training.trainable.items()}
        training.run()
        moved[strength] = sum(
            float((w.detach() - start[name]).square().sum()) for name, w in training.trainable.items()
        )
    assert moved[100.0] < 0.2 * moved[0.0]


@pytest.mark.parametrize("choose", ["best", "auto"])
def test_a_training_cut_in_two_ends_with_the_same_bits(
    make_training: MakeTraining, make_rows: Callable[..., Any], tmp_path: Path, choose: str
) -> None:
    """Also when it was killed after its last step, before anything was chosen."""
    kept = make_rows([5, 9, 6, 4, 8], seed=3)
    options: dict[str, Any] = {
        "kept_rows": kept,
        "keep_ability": {"rows": "old", "replay": 0.3, "ewc": 3.0, "l2_to_start": 0.1},
        "checkpoint": {"every_steps": 4, "keep": 9, "choose": choose},
    }
    whole = make_training(tmp_path / "whole", **options)
    ended = whole.run()
    for cut_at in (8, 18):
        folder = tmp_path / f"cut-{cut_at}"
        make_training(folder, **options).run()
        for path in (folder / "checkpoints").glob("step-*"):
            if int(path.name.removeprefix("step-")) > cut_at:
                for file in path.iterdir():
                    file.unlink()
                path.rmdir()
        again = make_training(folder, **options)
        resumed = again.run()
        assert (resumed.chosen, resumed.compared) == (ended.chosen, ended.compared)
        for name, weight in again.trainable.items():
            assert torch.equal(weight, whole.trainable[name]), name
    assert bool(ended.compared) == (choose == "auto")
