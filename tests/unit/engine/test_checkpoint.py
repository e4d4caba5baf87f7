"""A checkpoint holds everything a run needs to go on, bit for bit; a damaged one is passed over by name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from burnish.engine.checkpoint import (
    OPTIMIZER,
    STATE,
    WEIGHTS,
    newest_checkpoint,
    optimizer_tensors,
    prune_checkpoints,
    read_checkpoint,
    restore_optimizer,
    restore_random_state,
    save_checkpoint,
)
from burnish.engine.optimizer import AdamW, build_optimizer
from burnish.engine.options import TrainingOptions
from burnish.storage.durable import TEMPORARY

OPTIONS = TrainingOptions(learning_rate=1e-2)


def trained(steps: int) -> tuple[nn.Module, AdamW, dict[int, str]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    weights = dict(model.named_parameters())
    optimizer = build_optimizer(model, weights, OPTIONS)
    learn(model, optimizer, steps)
    return model, optimizer, {id(weight): name for name, weight in weights.items()}


def learn(model: nn.Module, optimizer: AdamW, steps: int) -> None:
    inputs = torch.arange(20.0).view(5, 4) / 10
    for _ in range(steps):
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()


def save(folder: Path, step: int, **state: Any) -> Path:
    return save_checkpoint(folder, step, weights={"w": torch.full((3,), float(step))}, optimizer={}, state=state)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_moments_come_back_exactly_and_go_on_to_the_same_bits(tmp_path: Path) -> None:
    straight, optimizer, _ = trained(5)
    learn(straight, optimizer, 3)
    model, optimizer, names = trained(5)
    saved = optimizer_tensors(optimizer, names)
    assert {key.rsplit(".", 1)[1] for key in saved} == {"step", "exp_avg", "exp_avg_sq"}
    path = save_checkpoint(tmp_path, 5, weights=dict(model.named_parameters()), optimizer=saved, state={})

    found = read_checkpoint(path)
    again, fresh, names = trained(0)
    again.load_state_dict(found.weights)
    restore_optimizer(fresh, found.optimizer, names)
    for key, value in optimizer_tensors(fresh, names).items():
        assert torch.equal(value, saved[key]), key
        assert value.dtype == saved[key].dtype
    learn(again, fresh, 3)
    for (name, weight), (_, wanted) in zip(again.named_parameters(), straight.named_parameters(), strict=True):
        assert torch.equal(weight, wanted), name


def test_a_weight_that_had_no_gradient_yet_gets_its_first_after_a_resume() -> None:
    model, optimizer, names = trained(0)
    restore_optimizer(optimizer, optimizer_tensors(optimizer, names), names)
    learn(model, optimizer, 1)
    assert len(optimizer.state) == 4


def test_every_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)
    np.random.standard_normal(3)  # leaves a second number waiting
    path = save(tmp_path, 1)

    def draws() -> list[float]:
        of_numpy = [np.random.standard_normal(), np.random.rand()]
        return [float(torch.rand(())), random.random(), random.gauss(0, 1), *of_numpy]

    expected = draws()
    draws()
    restore_random_state(read_checkpoint(path))
    assert draws() == expected


def test_state_and_step_are_kept(tmp_path: Path) -> None:
    found = read_checkpoint(save(tmp_path, 7, epoch_loss=0.1 + 0.2, stopping={"waited": 1}))
    assert found.step == 7
    assert found.folder == tmp_path / "step-7"
    assert found.state["epoch_loss"] == 0.1 + 0.2  # every bit of it
    assert found.state["stopping"] == {"waited": 1}
    assert found.weights["w"].tolist() == [7.0, 7.0, 7.0]


def test_only_safetensors_and_json_are_written(tmp_path: Path) -> None:
    assert {p.suffix for p in save(tmp_path, 1).iterdir()} == {".safetensors", ".json"}


def test_the_newest_is_by_number_and_not_by_name(tmp_path: Path) -> None:
    for step in (2, 10, 9):
        save(tmp_path, step)
    found = newest_checkpoint(tmp_path, warn=pytest.fail)
    assert found is not None
    assert found.step == 10


@pytest.mark.parametrize("name", [WEIGHTS, OPTIMIZER, STATE, "random.safetensors", "files.json"])
def test_a_damaged_one_is_passed_over_by_name(tmp_path: Path, name: str) -> None:
    save(tmp_path, 3)
    flip(save(tmp_path, 6) / name)
    seen: list[str] = []
    found = newest_checkpoint(tmp_path, warn=seen.append)
    assert found is not None
    assert found.step == 3
    assert len(seen) == 1
    assert "step-6" in seen[0]
    assert "damaged" in seen[0]
    assert name in seen[0]


def test_one_whose_manifest_leaves_a_file_out_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 3)
    manifest = save(tmp_path, 6) / "files.json"
    entries = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({name: entry for name, entry in entries.items() if name != OPTIMIZER}))
    seen: list[str] = []
    found = newest_checkpoint(tmp_path, warn=seen.append)
    assert found is not None
    assert found.step == 3
    assert "step-6 is damaged (optimizer.safetensors is not listed in files.json)" in seen[0]


def test_none_at_all(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "absent", warn=pytest.fail) is None
    flip(save(tmp_path, 1) / WEIGHTS)
    seen: list[str] = []
    assert newest_checkpoint(tmp_path, warn=seen.append) is None
    assert len(seen) == 1


def test_leftovers_of_a_killed_process_go_away(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / f"{TEMPORARY}abcd-step-2").mkdir()
    newest_checkpoint(tmp_path, warn=pytest.fail)
    assert [p.name for p in tmp_path.iterdir()] == ["step-1"]


@pytest.mark.parametrize(
    ("step", "keep", "best", "kept"),
    [
        (11, 2, 2, [2, 10, 11]),
        (11, 1, 11, [11]),
        (11, 9, 0, [1, 2, 9, 10, 11]),
        (9, 1, 2, [2, 9]),  # what lies beyond the step just written was damaged when the run went on
        (9, 2, 9, [2, 9]),
    ],
)
def test_pruning_keeps_the_newest_and_the_best(
    tmp_path: Path, step: int, keep: int, best: int, kept: list[int]
) -> None:
    for number in (1, 2, 9, 10, 11):
        save(tmp_path, number)
    prune_checkpoints(tmp_path, step=step, keep=keep, best_step=best)
    assert sorted(int(p.name.removeprefix("step-")) for p in tmp_path.iterdir()) == kept
