"""Pause, cancel, go on with other settings: asked from another process, nothing lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.errors import RecipeError, RunError
from burnish.lifecycle.control import resume_changed, stop_run
from burnish.lifecycle.train import resume_run, train
from burnish.storage.lock import exclusive
from burnish.storage.run_folder import RunFolder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="processes of POSIX")
PATIENCE_SECONDS = 120.0


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """A training in a process that has the libraries imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["burnish.lifecycle.judge", "burnish.lifecycle.workbench", "peft"])
    started: list[Any] = []

    def run(*arguments: Any, **named: Any) -> BaseProcess:
        process: Any = context.Process(target=train, args=arguments, kwargs=named)
        process.start()
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield run
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def settings_of(overrides_of: Callable[[str], list[str]]) -> list[str]:
    return [*overrides_of("full"), "checkpoint.every_steps=50", "training.log_every_steps=1"]


def wait_for_step(run: Path, step: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if (run / "metrics.jsonl").exists() and len((run / "metrics.jsonl").read_text().splitlines()) >= step:
            return
        time.sleep(0.001)
    raise AssertionError("waited for too long")


def newest_step(run: Path) -> int:
    return max(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))


def test_paused_and_resumed_is_as_if_never_paused(
    toy: Path,
    settings_of: list[str],
    start: Callable[..., BaseProcess],
    weights_of: Callable[[Path], dict[str, bytes]],
    metrics_of: Callable[[Path], list[dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = train(toy, output=tmp_path / "whole", overrides=settings_of)
    run = tmp_path / "run"
    process = start(toy, output=run, overrides=settings_of)
    wait_for_step(run, 3)
    assert main(["pause", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": "run", "folder": str(run), "status": "paused"}
    process.join()
    assert process.exitcode == 0
    steps = [line["step"] for line in metrics_of(run)]
    assert newest_step(run) == steps[-1]  # the step it was at, and no other
    assert not RunFolder(run).asked()
    assert main(["pause", str(run)]) == 0  # again: it already is
    assert main(["resume", str(run)]) == 0
    assert weights_of(run) == weights_of(whole.path)
    assert metrics_of(run) == metrics_of(whole.path)


def test_cancelled_keeps_its_checkpoint_and_does_not_go_on(
    toy: Path, settings_of: list[str], start: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    process = start(toy, output=run.path, overrides=settings_of)
    wait_for_step(run.path, 2)
    assert stop_run(run, "cancel") == "cancelled"
    process.join()
    assert process.exitcode == 0
    assert newest_step(run.path) >= 2
    with pytest.raises(RunError) as caught:
        resume_run(run)
    assert caught.value.code == "run/cancelled"
    assert "--set" in str(caught.value.hint)
    child = resume_changed(run, ["training.max_steps=30"], output=tmp_path / "child")
    assert child.status == "finished"


def test_what_does_not_run_cannot_be_paused(toy: Path, settings_of: list[str], tmp_path: Path) -> None:
    run = train(toy, output=tmp_path / "run", overrides=[*settings_of, "training.max_steps=3"]).folder
    for what in ("pause", "cancel"):
        with pytest.raises(RunError) as caught:
            stop_run(run, what)  # type: ignore[arg-type]
        assert caught.value.code == "run/finished"
    run.update_manifest(status="failed")
    with pytest.raises(RunError) as caught:
        stop_run(run, "pause")
    assert caught.value.code == "run/not-running"
    assert "burnish resume" in str(caught.value.hint)
    assert stop_run(run, "cancel") == "cancelled"
    assert run.manifest()["status"] == "cancelled"


def test_a_request_is_answered_while_nobody_looks(toy: Path, settings_of: list[str], tmp_path: Path) -> None:
    """Who asks waits for the one who works, and is told when that one dies: here a lock and no training at all."""
    run = train(toy, output=tmp_path / "run", overrides=[*settings_of, "training.max_steps=3"]).folder
    run.update_manifest(status="running")
    heard: list[RunError] = []

    def ask() -> None:
        try:
            stop_run(run, "pause")
        except RunError as error:
            heard.append(error)

    with exclusive(run.path):
        asking = threading.Thread(target=ask)
        asking.start()
        while run.asked() is None:
            time.sleep(0.01)
        assert asking.is_alive()
    asking.join()
    assert run.asked() is None
    assert [error.code for error in heard] == ["run/died"]
    assert "burnish resume" in str(heard[0].hint)


def test_a_child_goes_on_with_other_settings_and_the_parent_stays(
    toy: Path, settings_of: list[str], tmp_path: Path, metrics_of: Callable[[Path], list[dict[str, Any]]]
) -> None:
    parent = train(toy, output=tmp_path / "run", overrides=[*settings_of, "training.max_steps=8"]).folder
    before = {path: path.read_bytes() for path in parent.path.rglob("*") if path.is_file()}
    changes = ["training.max_steps=16", "training.learning_rate=1e-4"]
    assert main(["resume", str(parent.path), *[part for change in changes for part in ("--set", change)]]) == 0
    child = RunFolder(tmp_path / "run-2")
    assert before == {path: path.read_bytes() for path in parent.path.rglob("*") if path.is_file()}
    manifest = child.manifest()
    assert manifest["parents"] == [{"run": "run", "checkpoint": "step-8", "changed": changes}]
    assert manifest["status"] == "finished"
    assert manifest["training"]["steps"] == 16
    lines = metrics_of(child.path)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 17))
    assert lines[: len(metrics_of(parent.path))] == metrics_of(parent.path)
    assert "learning_rate: 0.0001" in child.recipe.read_text()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("training.seed=14", "which rows are the test rows"),
        ("training.global_batch_size=4", "counted in batches"),
        ("data.test_ratio=0.3", "not be the same training"),
        ("method.rank=4", "not be the same training"),
    ],
)
def test_what_a_child_cannot_change(
    change: str, reason: str, toy: Path, settings_of: list[str], tmp_path: Path
) -> None:
    parent = train(toy, output=tmp_path / "run", overrides=[*settings_of, "training.max_steps=3"]).folder
    with pytest.raises(RecipeError) as caught:
        resume_changed(parent, [change])
    assert caught.value.code == "recipe/fixed-by-parent"
    assert reason in caught.value.message
    assert not (tmp_path / "run-2").exists()


def test_a_child_needs_a_resting_parent_with_a_checkpoint(
    toy: Path, settings_of: list[str], overrides_of: Callable[[str], list[str]], tmp_path: Path
) -> None:
    parent = train(toy, output=tmp_path / "run", overrides=[*settings_of, "training.max_steps=3"]).folder
    with exclusive(parent.path), pytest.raises(RunError) as caught:
        resume_changed(parent, ["training.max_steps=9"])
    assert caught.value.code == "run/locked"
    with pytest.raises(RunError) as caught:
        resume_changed(parent, ["training.max_steps=9"], output=parent.path)
    assert caught.value.code == "run/exists"
    solved = train(toy, output=tmp_path / "solved", overrides=overrides_of("head")).folder
    with pytest.raises(RunError) as caught:
        resume_changed(solved, ["evaluation.minimum_effect=0.02"])
    assert caught.value.code == "run/no-checkpoint"
    assert main(["resume", str(parent.path), "--output", str(tmp_path / "x")]) == 2
