"""A training that was killed anywhere and run again ends with the same bits as one that never stopped."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from burnish.engine import checkpoint as checkpoints
from burnish.engine.loop import Training
from burnish.errors import DamagedStoreError, DiskFullError, InterruptedRunError
from burnish.method.full import Full
from burnish.method.lora import Lora
from burnish.storage import durable
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

Make = Callable[..., Training]
WALL_CLOCK = {"rows_per_second", "tokens_per_second"}
STEPS = 18
# Evaluations at 6, 12 and 18; checkpoints at 4, 6, 8, 12, 16 and 18.
SETTINGS: dict[str, Any] = {"checkpoint": {"every_steps": 4, "keep": 2}, "log_every_steps": 3}


class Killed(BaseException):
    """The process is gone."""


class Told(Silent):
    """Does something when the engine reports a step, and keeps what it says."""

    def __init__(self, at: int | None = None, act: Callable[[], Any] | None = None) -> None:
        self.at, self.act = at, act
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def advance(self, done: int, total: int, figures: Any) -> None:
        if done == self.at and self.act is not None:
            self.act()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def kill() -> None:
    raise Killed


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def spill() -> None:
    """Another process has other random numbers."""
    torch.manual_seed(987)
    random.seed(987)
    np.random.seed(987)


def ending(training: Training) -> dict[str, Any]:
    """Everything a training leaves behind, wall-clock times aside."""
    trained = training.run()
    rows = training.folder.rows(training.folder.metrics)
    return {
        "weights": {name: w.detach().clone() for name, w in training.model.state_dict().items()},
        "metrics": [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in rows],
        "stopping": training.stopping.state(),
        "best": (trained.steps, trained.best_step, trained.best_value, trained.stopped),
        "checkpoints": sorted(p.name for p in training.folder.checkpoints.iterdir()),
    }


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in ("best", "stopping", "metrics", "checkpoints"):
        assert found[name] == wanted[name], name
    assert found["weights"].keys() == wanted["weights"].keys()
    for name, weight in wanted["weights"].items():
        assert torch.equal(found["weights"][name], weight), name


def head() -> nn.Module:
    """A head with dropout of pooled vectors, which draws from torch's own generator."""
    torch.manual_seed(4)
    return nn.Sequential(nn.Dropout(0.3), nn.Linear(16, 2))


def normalizing_head() -> nn.Module:
    """A head whose running means and counts change without a gradient."""
    torch.manual_seed(4)
    return nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 2))


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "full": lambda: {"method": Full(), "head": head()},
    "buffers": lambda: {"method": Full(), "head": normalizing_head()},
    "lora": lambda: {"method": Lora(rank=2)},
    "full without average": lambda: {"method": Full(), "average_decay": 0.0},
}


@pytest.fixture(scope="module")
def straight(make_training: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The end of a training of a kind that never stopped."""

    @cache
    def end(kind: str) -> dict[str, Any]:
        return ending(make_training(tmp_path_factory.mktemp("straight"), **SETTINGS, **KINDS[kind]()))

    return end


@pytest.mark.parametrize("kind", KINDS)
def test_killed_again_and_again(make_training: Make, straight: Any, tmp_path: Path, kind: str) -> None:
    """At steps before the first checkpoint, between two, in the middle of an epoch, on an evaluation and at the end."""
    wanted = straight(kind)
    for step in (3, 5, 9, 12, 17):
        spill()
        killed = make_training(tmp_path / "run", progress=Told(step, kill), **SETTINGS, **KINDS[kind]())
        with pytest.raises(Killed):
            killed.run()
    spill()
    assert_same(ending(make_training(tmp_path / "run", **SETTINGS, **KINDS[kind]())), wanted)


@pytest.mark.parametrize("step", [1, 7, 12, 17])
def test_stopped_by_a_signal(make_training: Make, straight: Any, tmp_path: Path, step: int) -> None:
    """The step is finished, a checkpoint is saved, and the hint goes on from it."""
    wanted = straight("full")
    told = Told(step, terminate)
    with pytest.raises(InterruptedRunError) as caught:
        make_training(tmp_path / "run", progress=told, **SETTINGS, **KINDS["full"]()).run()
    assert (caught.value.code, caught.value.exit_code) == ("engine/interrupted", 143)
    assert f"after step {step} of 18" in caught.value.message
    assert caught.value.hint == f"go on with: burnish resume {tmp_path / 'run'}"
    assert told.notes[-1] == f"saved checkpoint step-{step}: step {step}"
    spill()
    again = Told()
    found = ending(make_training(tmp_path / "run", progress=again, **SETTINGS, **KINDS["full"]()))
    assert again.notes[0] == f"resumed from step-{step}: step {step}"
    assert again.warnings == []
    assert found["weights"].keys() == wanted["weights"].keys()
    assert found["metrics"] == wanted["metrics"]
    assert found["best"] == wanted["best"]
    assert all(torch.equal(found["weights"][name], weight) for name, weight in wanted["weights"].items())


def test_a_signal_in_the_last_step_lets_it_finish(make_training: Make, tmp_path: Path) -> None:
    trained = make_training(tmp_path, progress=Told(STEPS, terminate), **SETTINGS).run()
    assert trained.stopped == "finished"


def test_killed_while_judging(make_training: Make, straight: Any, tmp_path: Path) -> None:
    """The average stands in for the weights just then; nothing of that reaches the disk."""
    wanted = straight("lora")
    killed = make_training(tmp_path / "run", **SETTINGS, **KINDS["lora"]())
    judge, calls = killed.validate, [0]

    def once(model: nn.Module) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise Killed
        return judge(model)

    killed.validate = once
    with pytest.raises(Killed):
        killed.run()
    assert_same(ending(make_training(tmp_path / "run", **SETTINGS, **KINDS["lora"]())), wanted)


@pytest.mark.parametrize("where", ["weights", "manifest", "rename", "pruning"])
def test_killed_while_saving(
    make_training: Make, straight: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    wanted = straight("lora")
    with monkeypatch.context() as patch:
        die_in_the_second_call(patch, where)
        with pytest.raises(Killed):
            make_training(tmp_path / "run", **SETTINGS, **KINDS["lora"]()).run()
    assert_same(ending(make_training(tmp_path / "run", **SETTINGS, **KINDS["lora"]())), wanted)


def die_in_the_second_call(patch: pytest.MonkeyPatch, where: str) -> None:
    owner, name = {
        "weights": (checkpoints, "save_tensors"),
        "manifest": (durable, "write_json"),
        "rename": (Path, "rename"),
        "pruning": (checkpoints, "prune_checkpoints"),
    }[where]
    original, calls = getattr(owner, name), [0]
    nth = {"weights": 5, "manifest": 2, "rename": 2, "pruning": 2}[where]  # three tensor files a checkpoint

    def call(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth:
            raise Killed
        return original(*arguments, **named)

    patch.setattr(owner, name, call)


def test_a_full_disk_ends_the_run_and_more_space_goes_on(
    make_training: Make, straight: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = straight("lora")

    def full(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        original, calls = checkpoints.save_tensors, [0]

        def call(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            return full() if calls[0] == 8 else original(*arguments, **named)

        patch.setattr(checkpoints, "save_tensors", call)
        with pytest.raises(DiskFullError) as caught:
            make_training(tmp_path / "run", **SETTINGS, **KINDS["lora"]()).run()
    assert caught.value.where == str(tmp_path / "run" / "checkpoints" / "step-8")
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-4", "step-6"]
    assert_same(ending(make_training(tmp_path / "run", **SETTINGS, **KINDS["lora"]())), wanted)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(("keep", "name"), [(1, "weights.safetensors"), (2, "state.json")])
def test_a_damaged_newest_checkpoint_is_passed_over(make_training: Make, tmp_path: Path, name: str, keep: int) -> None:
    settings = {**SETTINGS, "checkpoint": {"every_steps": 4, "keep": keep}}
    wanted = ending(make_training(tmp_path / "straight", **settings))
    with pytest.raises(Killed):
        make_training(tmp_path / "run", progress=Told(9, kill), **settings).run()
    flip(tmp_path / "run" / "checkpoints" / "step-8" / name)
    told = Told()
    found = ending(make_training(tmp_path / "run", progress=told, **settings))
    (warning,) = told.warnings
    assert "step-8" in warning
    assert name in warning
    assert told.notes[0] == "resumed from step-6: step 6"
    assert_same(found, wanted)


def test_a_damaged_checkpoint_does_not_push_out_a_good_one(make_training: Make, tmp_path: Path) -> None:
    """Killed a second time before it reaches the damaged one's step, a run goes on from what it saved since."""

    def judge(_: nn.Module) -> dict[str, float]:
        return {"accuracy": 0.5, "loss": 1.0}  # the first one stays the best

    settings: dict[str, Any] = {"checkpoint": {"every_steps": 1, "keep": 1}, "max_steps": 8}
    settings |= {"validate": judge, "patience": 9, "evaluate_every_steps": 2}
    wanted = ending(make_training(tmp_path / "straight", **settings))
    with pytest.raises(Killed):
        make_training(tmp_path / "run", progress=Told(8, kill), **settings).run()
    flip(tmp_path / "run" / "checkpoints" / "step-7" / "weights.safetensors")
    with pytest.raises(Killed):
        make_training(tmp_path / "run", progress=Told(6, kill), **settings).run()
    told = Told()
    found = ending(make_training(tmp_path / "run", progress=told, **settings))
    assert told.notes[0] == "resumed from step-5: step 5"
    assert told.warnings == []
    assert_same(found, wanted)


def test_without_any_usable_checkpoint_a_run_starts_afresh(make_training: Make, straight: Any, tmp_path: Path) -> None:
    wanted = straight("lora")
    with pytest.raises(Killed):
        make_training(tmp_path / "run", progress=Told(5, kill), **SETTINGS, **KINDS["lora"]()).run()
    flip(tmp_path / "run" / "checkpoints" / "step-4" / "optimizer.safetensors")
    told = Told()
    assert_same(ending(make_training(tmp_path / "run", progress=told, **SETTINGS, **KINDS["lora"]())), wanted)
    assert len(told.warnings) == 1
    assert not any(note.startswith("resumed") for note in told.notes)


def test_a_finished_training_run_again_gives_the_same(make_training: Make, tmp_path: Path) -> None:
    first = ending(make_training(tmp_path, **SETTINGS))
    told = Told()
    second = ending(make_training(tmp_path, progress=told, **SETTINGS))
    assert_same(second, first)
    assert told.notes == ["resumed from step-18: step 18"]


def test_a_training_that_stopped_early_does_not_go_on(make_training: Make, tmp_path: Path) -> None:
    def judge(_: nn.Module) -> dict[str, float]:
        return {"accuracy": 0.5, "loss": 1.0}

    first = ending(make_training(tmp_path, epochs=20, patience=1, validate=judge))
    assert first["best"] == (12, 6, 0.5, "no better evaluation in 1")
    assert_same(ending(make_training(tmp_path, epochs=20, patience=1, validate=judge)), first)


def test_a_damaged_best_checkpoint_is_never_served(make_training: Make, tmp_path: Path) -> None:
    """A flipped bit in the best weights is found when they are taken, not in production."""

    def judge(_: nn.Module) -> dict[str, float]:
        return {"accuracy": 0.5, "loss": 1.0}

    told = Told(17, lambda: flip(tmp_path / "checkpoints" / "step-6" / "weights.safetensors"))
    with pytest.raises(DamagedStoreError) as caught:
        make_training(tmp_path, validate=judge, patience=9, progress=told, **SETTINGS).run()
    assert caught.value.code == "storage/damaged"
    assert caught.value.where == str(tmp_path / "checkpoints" / "step-6")


def test_events_say_where_a_run_went_on(make_training: Make, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        make_training(tmp_path, progress=Told(7, kill), **SETTINGS).run()
    make_training(tmp_path, **SETTINGS).run()
    events = RunFolder(tmp_path).rows(tmp_path / "events.jsonl")
    assert [(e["event"], e["step"]) for e in events][:4] == [
        ("checkpoint", 4),
        ("checkpoint", 6),
        ("resumed", 6),
        ("checkpoint", 8),
    ]


def test_weights_are_bits(make_training: Make, tmp_path: Path) -> None:
    """What `assert_same` compares sees the smallest possible difference."""
    first = ending(make_training(tmp_path, max_steps=1))
    name = "head.linear.bias"
    bits: Tensor = first["weights"][name].clone().view(torch.int32)
    bits[0] ^= 1
    second = {**first, "weights": {**first["weights"], name: bits.view(torch.float32)}}
    with pytest.raises(AssertionError, match=name):
        assert_same(second, first)
