"""A run that is stopped at any moment and resumed ends bit for bit like one that was never stopped."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.errors import RunError
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import resume_run, train
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
CHECKPOINTS = ("checkpoint.every_steps=2", "training.average_decay=0.9", "training.log_every_steps=3")
PATIENCE_SECONDS = 120.0

Metrics = Callable[[Path], list[dict[str, Any]]]
Weights = Callable[[Path], dict[str, bytes]]
Start = Callable[..., BaseProcess]


class Notes(Silent):
    """What a run told whoever watched."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    warn = note


@pytest.fixture(scope="module")
def overrides(overrides_of: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda method: [*overrides_of(method), *CHECKPOINTS]


@pytest.fixture(scope="module")
def whole(
    toy: Path, overrides: Callable[[str], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Run]:
    """The run that was never stopped, made once per method."""
    made: dict[str, Run] = {}

    def run(method: str) -> Run:
        if method not in made:
            made[method] = train(toy, output=tmp_path_factory.mktemp("whole") / "run", overrides=overrides(method))
        return made[method]

    return run


@pytest.fixture(scope="module")
def server() -> Any:
    """Starts processes that have the libraries imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["burnish.lifecycle.judge", "burnish.lifecycle.workbench", "peft"])
    return context


@pytest.fixture
def start(server: Any) -> Iterator[Start]:
    """Runs a function of burnish in a process of its own; what still runs at the end is killed."""
    started: list[BaseProcess] = []

    def run(function: Callable[..., Any], *arguments: Any, **named: Any) -> BaseProcess:
        process: BaseProcess = server.Process(target=function, args=arguments, kwargs=named)
        process.start()
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.join()


def newest_step(run: Path) -> int:
    steps = [path.name.removeprefix("step-") for path in run.glob("checkpoints/step-*")]
    return max((int(step) for step in steps if step.isdigit()), default=0)


def wait_for(happened: Callable[[], object], process: BaseProcess | subprocess.Popen[str]) -> bool:
    """True as soon as it happened; False when the process ended before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        alive = process.is_alive() if isinstance(process, BaseProcess) else process.poll() is None
        if happened():
            return True
        if not alive:
            return False
        time.sleep(0.0005)
    raise AssertionError("waited for too long")


def kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


def assert_same_end(run: Path, other: Path, weights_of: Weights, metrics_of: Metrics) -> None:
    assert weights_of(run) == weights_of(other)
    assert metrics_of(run) == metrics_of(other)
    for name in ("predictions.jsonl", "problems.jsonl", "final/model.json"):
        assert (run / name).read_bytes() == (other / name).read_bytes()
    models = [json.loads((folder / "evaluation.json").read_text())["models"] for folder in (run, other)]
    assert models[0] == models[1]
    assert RunFolder(run).manifest()["status"] == "finished"
    assert not list(run.rglob(".tmp-*"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_step(
    method: str,
    seed: int,
    toy: Path,
    overrides: Callable[[str], list[str]],
    whole: Callable[[str], Run],
    start: Start,
    weights_of: Weights,
    metrics_of: Metrics,
    tmp_path: Path,
) -> None:
    """Killed again and again, a little after steps and milliseconds drawn at random."""
    chance = random.Random(seed)
    run = tmp_path / "run"
    killed_at = []
    for after in sorted(chance.sample(range(1, 60), 5)):
        process = start(train, toy, output=run, overrides=overrides(method), resume=True)
        assert wait_for(lambda after=after: newest_step(run) >= after, process)
        time.sleep(chance.random() / 50)
        kill(process)
        assert process.exitcode == -signal.SIGKILL
        killed_at.append(newest_step(run))
    notes = Notes()
    resume_run(RunFolder(run), progress=notes)
    assert f"resumed from step-{killed_at[-1]}: step {killed_at[-1]}" in notes.texts
    assert_same_end(run, whole(method).path, weights_of, metrics_of)


@pytest.mark.slow
def test_killed_while_a_checkpoint_is_written(
    toy: Path,
    overrides: Callable[[str], list[str]],
    whole: Callable[[str], Run],
    start: Start,
    weights_of: Weights,
    metrics_of: Metrics,
    tmp_path: Path,
) -> None:
    """Half a checkpoint is never taken for one, and does not stay."""
    run = tmp_path / "run"
    halves = 0
    for after in (2, 9, 20, 33, 50):
        process = start(train, toy, output=run, overrides=overrides("full"), resume=True)
        assert wait_for(lambda after=after: newest_step(run) >= after and list(run.glob("checkpoints/.tmp-*")), process)
        kill(process)
        halves += bool(list(run.glob("checkpoints/.tmp-*")))
        assert all((path / "files.json").is_file() for path in run.glob("checkpoints/step-*"))
    assert halves  # each one may just have been finished, all five hardly
    resume_run(RunFolder(run))
    assert_same_end(run, whole("full").path, weights_of, metrics_of)


@pytest.mark.parametrize("landmark", ["recipe.yaml", "final", "evaluation.json", "card.md"])
def test_killed_before_and_after_training(
    landmark: str,
    toy: Path,
    overrides: Callable[[str], list[str]],
    whole: Callable[[str], Run],
    start: Start,
    weights_of: Weights,
    metrics_of: Metrics,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    process = start(train, toy, output=run, overrides=overrides("full"))
    assert wait_for((run / landmark).exists, process)
    kill(process)
    resume_run(RunFolder(run))
    assert (run / "report.html").is_file()
    assert_same_end(run, whole("full").path, weights_of, metrics_of)


@pytest.mark.slow
def test_signals_leave_a_checkpoint_and_their_exit_code(
    toy: Path,
    overrides: Callable[[str], list[str]],
    whole: Callable[[str], Run],
    spawn: Callable[..., subprocess.Popen[str]],
    weights_of: Weights,
    metrics_of: Metrics,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    settings = [word for override in overrides("full") for word in ("--set", override)]
    process = spawn("train", toy, "--output", run, *settings)
    assert wait_for(lambda: newest_step(run) >= 3, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert (process.returncode, out) == (143, "")
    stopped = newest_step(run)
    assert f"saved checkpoint step-{stopped}: step {stopped}" in err
    assert err.splitlines()[-2].endswith("[engine/interrupted]")
    assert err.splitlines()[-1] == f"  hint: go on with: burnish resume {run}"
    assert RunFolder(run).manifest()["status"] == "interrupted"

    process = spawn("resume", run, "--json")
    assert wait_for(lambda: newest_step(run) >= stopped + 6, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "engine/interrupted"
    assert f"resumed from step-{stopped}: step {stopped}" in err

    stopped = newest_step(run)
    assert main(["resume", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "VERDICT" in out
    assert f"resumed from step-{stopped}: step {stopped}" in err
    assert_same_end(run, whole("full").path, weights_of, metrics_of)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_before_the_first_step_ends_cleanly(
    number: signal.Signals,
    status: int,
    toy: Path,
    overrides: Callable[[str], list[str]],
    spawn: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    process = spawn("train", toy, "--output", run, *[w for o in overrides("full") for w in ("--set", o)])
    assert wait_for((run / "manifest.json").exists, process)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out) == (status, "")
    assert "Traceback" not in err
    assert RunFolder(run).manifest()["status"] == "interrupted"


AT_THE_END = """
import os, signal
from burnish.cli import main

set_handler = signal.signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell turns off for what runs in the background

def interrupted(number, handler):
    if handler == signal.SIG_IGN:  # the moment between the end of a command and that of the process
        signal.signal = set_handler
        for _ in range(2):
            os.kill(os.getpid(), {number})
    return set_handler(number, handler)

main.main = lambda _: 0
signal.signal = interrupted
main.entry()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_while_the_process_ends(number: signal.Signals, status: int) -> None:
    script = AT_THE_END.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "stopped\n")


def test_finished_run_is_left_as_it_is(whole: Callable[[str], Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = whole("full")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    assert main(["resume", str(run.path)]) == 0
    out, err = capsys.readouterr()
    assert f"run {run.id} is already finished" in err
    assert "VERDICT" in out
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()} == before


def test_train_with_resume_starts_goes_on_and_stays(
    toy: Path, overrides_of: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """The line for a job script that may be restarted at any time."""
    run, notes = tmp_path / "run", Notes()
    first = train(toy, output=run, overrides=overrides_of("head"), resume=True)
    evaluation = first.folder.evaluation.read_bytes()
    second = train(toy, output=run, overrides=overrides_of("head"), resume=True, progress=notes)
    assert notes.texts == ["run run is already finished"]
    assert second.folder.evaluation.read_bytes() == evaluation
    train(toy, output=run, overrides=overrides_of("full"), resume=True, progress=notes)
    assert notes.texts[1] == "the run goes on with its own recipe.yaml; what it is asked for now is not read"


def test_attempt_that_never_began_can_be_repeated(
    toy: Path, overrides_of: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """A misspelt file name must not cost the folder."""
    run = tmp_path / "run"
    with pytest.raises(Exception, match="does not exist"):
        train(toy.with_name("tyo.csv"), output=run, overrides=overrides_of("head"))
    with pytest.raises(RunError) as caught:
        resume_run(RunFolder(run))
    assert caught.value.code == "run/no-recipe"
    assert train(toy, output=run, overrides=overrides_of("head")).status == "finished"
    assert RunFolder(run).manifest()["error"] is None


def test_what_a_killed_beginning_left_goes_away(
    toy: Path, overrides_of: Callable[[str], list[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".tmp-0a1b2c3d-manifest.json").write_text("{", encoding="utf-8")
    train(toy, output=run, overrides=overrides_of("head"), resume=True)
    assert not list(run.rglob(".tmp-*"))


def test_changed_data_is_refused(
    toy_rows: list[tuple[str, str]],
    write_csv: Callable[..., Path],
    overrides: Callable[[str], list[str]],
    start: Start,
    tmp_path: Path,
) -> None:
    data, run = write_csv(toy_rows), tmp_path / "run"
    process = start(train, data, output=run, overrides=overrides("full"))
    assert wait_for(lambda: newest_step(run) >= 2, process)
    kill(process)
    data.write_text(data.read_text(encoding="utf-8").replace("card", "money", 1), encoding="utf-8")
    before = newest_step(run)
    with pytest.raises(RunError) as caught:
        resume_run(RunFolder(run))
    assert (caught.value.code, caught.value.where) == ("run/data-changed", str(data))
    assert caught.value.exit_code == 2
    assert newest_step(run) == before


def test_second_process_is_refused(
    toy: Path, overrides: Callable[[str], list[str]], start: Start, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(train, toy, output=run, overrides=overrides("full"))
    assert wait_for(lambda: newest_step(run) >= 2, process)
    for attempt in (
        lambda: resume_run(RunFolder(run)),
        lambda: train(toy, output=run, overrides=overrides("full"), resume=True),
    ):
        with pytest.raises(RunError) as caught:
            attempt()
        assert caught.value.code == "run/locked"
        assert str(process.pid) in caught.value.message
    assert RunFolder(run).manifest()["status"] == "running"
    kill(process)  # its lock dies with it
    assert resume_run(RunFolder(run)).status == "finished"


def test_damaged_checkpoint_is_passed_over(
    toy: Path,
    overrides: Callable[[str], list[str]],
    whole: Callable[[str], Run],
    start: Start,
    weights_of: Weights,
    metrics_of: Metrics,
    tmp_path: Path,
) -> None:
    run, notes = tmp_path / "run", Notes()
    process = start(train, toy, output=run, overrides=overrides("full"))
    assert wait_for(lambda: newest_step(run) >= 12, process)
    kill(process)
    newest = newest_step(run)
    weights = run / "checkpoints" / f"step-{newest}" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    resume_run(RunFolder(run), progress=notes)
    damage = f"checkpoint step-{newest} is damaged (weights.safetensors differs from its sha256)"
    assert f"{damage}; looking for an older one" in notes.texts
    assert any(text.startswith("resumed from step-") and f"step-{newest}:" not in text for text in notes.texts)
    assert_same_end(run, whole("full").path, weights_of, metrics_of)
