"""Several processes train one model: the same numbers within rounding, any number resumes, a dead one ends all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.cli.main import main
from burnish.lifecycle.follow import visible_gpus
from burnish.lifecycle.train import resume_run, train
from burnish.storage.run_folder import RunFolder
from burnish.storage.tensors import load_tensors

pytestmark = [pytest.mark.skipif(os.name == "nt", reason="processes of POSIX"), pytest.mark.slow]
PATIENCE_SECONDS = 120
# float32 sums of gradients in another order, over 40 steps of AdamW, whose first steps divide by small numbers
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-4, 2e-3

Metrics = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def settings_of(overrides_of: Callable[[str], list[str]]) -> list[str]:
    extra = ("max_steps=40", "log_every_steps=1", "dropout=0.1", "learning_rate=2e-3")
    return [*overrides_of("full"), "checkpoint.every_steps=5", *(f"training.{field}" for field in extra)]


@pytest.fixture(scope="module")
def alone(toy: Path, settings_of: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    return train(toy, output=tmp_path_factory.mktemp("alone") / "run", overrides=settings_of).path


def losses(run: Path, metrics_of: Metrics) -> list[float]:
    lines = [line for line in metrics_of(run) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, 41))
    return [line["loss"] for line in lines]


def assert_close(run: Path, other: Path, metrics_of: Metrics) -> None:
    np.testing.assert_allclose(losses(run, metrics_of), losses(other, metrics_of), atol=LOSS_TOLERANCE)
    found, wanted = (load_tensors(next((path / "final").glob("model*.safetensors"))) for path in (run, other))
    for name, weight in wanted.items():
        if name.endswith("key.bias"):
            continue  # its gradient is 0 but for rounding (softmax does not see it), which AdamW blows up to full steps
        np.testing.assert_allclose(found[name], weight, atol=WEIGHT_TOLERANCE, err_msg=name)


def torchrun(processes: int, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [*command, "-m", "burnish", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_give_the_numbers_of_one(
    processes: int, toy: Path, settings_of: list[str], alone: Path, metrics_of: Metrics, tmp_path: Path
) -> None:
    run = train(toy, output=tmp_path / "run", overrides=[*settings_of, f"training.processes={processes}"])
    assert run.folder.manifest()["environment"]["processes"] == processes
    assert run.verdict["answer"]
    assert "WORLD_SIZE" not in os.environ
    assert_close(run.path, alone, metrics_of)


def test_torchrun(toy: Path, settings_of: list[str], alone: Path, metrics_of: Metrics, tmp_path: Path) -> None:
    settings = [part for setting in settings_of for part in ("--set", setting)]
    process = torchrun(2, "train", str(toy), "--output", str(tmp_path / "run"), "--json", *settings)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "finished"  # one result: of rank 0
    assert_close(tmp_path / "run", alone, metrics_of)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_saved_by_some_resumed_by_others(
    first: int, then: int, toy: Path, settings_of: list[str], alone: Path, metrics_of: Metrics, tmp_path: Path
) -> None:
    """No row lost or repeated: the curve goes on where it was."""
    run = RunFolder(tmp_path / "run")
    settings = [*settings_of, f"training.processes={first}"]
    process = started(toy, run, settings)
    wait_for_step(run, 12)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 143, err
    assert err.count("[engine/interrupted]") == 1
    recipe = run.recipe.read_text()
    run.recipe.write_text(recipe.replace(f"processes: {first}", f"processes: {then}"))
    resume_run(run)
    assert run.manifest()["environment"]["processes"] == then
    assert_close(run.path, alone, metrics_of)


def test_a_killed_process_ends_all_and_the_run_goes_on(
    toy: Path, settings_of: list[str], alone: Path, metrics_of: Metrics, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    settings = [*settings_of, "training.processes=2"]
    process = started(toy, run, settings)
    wait_for_step(run, 7)
    (follower,) = children(process.pid)
    os.kill(follower, signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 75, err
    assert "another process of this training is gone" in err
    assert "Traceback" not in err
    assert "resume" in err
    assert run.manifest()["error"]["code"] == "engine/rank-lost"
    resume_run(run)
    assert_close(run.path, alone, metrics_of)


def test_a_killed_leader_takes_the_others_along(toy: Path, settings_of: list[str], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    settings = [*settings_of, "training.processes=3", "training.max_steps=400", "training.epochs=99"]
    process = started(toy, run, settings)
    wait_for_step(run, 7)
    followers = children(process.pid)
    assert len(followers) == 2
    process.kill()
    process.communicate(timeout=PATIENCE_SECONDS)  # the others hold its stderr until they are gone
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(alive(follower) for follower in followers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_paused_together(toy: Path, settings_of: list[str], alone: Path, metrics_of: Metrics, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    settings = [*settings_of, "training.processes=2"]
    process = started(toy, run, settings)
    wait_for_step(run, 5)
    assert main(["pause", str(run.path)]) == 0
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert run.manifest()["status"] == "paused"
    resume_run(run)
    assert_close(run.path, alone, metrics_of)


def test_a_mistake_is_said_once_and_ends_all(toy: Path, tmp_path: Path) -> None:
    process = torchrun(2, "train", str(toy), "--output", str(tmp_path / "run"), "--set", "model.base=nowhere/at-all")
    started = time.monotonic()
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode != 0
    assert err.count("[model/") == 1
    assert time.monotonic() - started < PATIENCE_SECONDS


def started(toy: Path, run: RunFolder, settings: list[str]) -> subprocess.Popen[str]:
    """A training as a person starts it."""
    command = [sys.executable, "-m", "burnish", "train", str(toy), "--output", str(run.path)]
    command += [part for setting in settings for part in ("--set", setting)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_visible_gpus_are_counted_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for chosen, count in (("", 0), ("-1", 0), ("0", 1), ("0,2,3", 3), ("GPU-1a, GPU-2b", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert visible_gpus() == count


def wait_for_step(run: RunFolder, step: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not run.metrics.exists() or len(run.metrics.read_text().splitlines()) < step:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children()]


def alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
