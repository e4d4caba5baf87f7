"""A worker outlives its jobs and its database, and reads figures that were cut and grew again."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from burnish.cli import serve
from burnish.errors import RegistryError
from burnish.lifecycle import work as module
from burnish.lifecycle.attempt import Figures
from burnish.lifecycle.service import Service
from burnish.lifecycle.trainer_process import TrainerProcess
from burnish.lifecycle.work import Stopping, WorkerOptions, own_slot, work
from burnish.lifecycle.work_job import Working
from burnish.registry import queue
from burnish.registry.database import reading, writing
from burnish.registry.queue import line_up
from burnish.registry.service_tables import JOBS
from burnish.registry.store import open_registry
from burnish.settings import settings
from burnish.storage.run_folder import RunFolder


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """One whose trainers are not started: no job here comes so far."""
    monkeypatch.setattr(TrainerProcess, "start", lambda _: None)
    return Service(open_registry(tmp_path / "home"), tmp_path / "home")


class Ending(Stopping):
    """What has a worker end when it would wait."""

    def wait(self, seconds: float) -> None:
        self.asked = True


def add(service: Service, job: str, **changes: Any) -> None:
    row = {"id": job, "project": "p", "created": time.time(), "status": "queued", "asked": "{}", "chosen": "{}"}
    row |= {"base": "b", "seed": 1, "training_file": "file-1", "priority": 0, "slot": "cpu"}
    with writing(service.registry.engine) as connection:
        line_up(connection, {**row, **changes}, {})


def job(service: Service, name: str) -> Any:
    with reading(service.registry.engine) as connection:
        return connection.execute(select(JOBS).where(JOBS.c.id == name)).one()


def test_a_job_that_breaks_the_worker_fails_and_the_next_one_is_taken(service: Service) -> None:
    add(service, "one", asked=json.dumps({"a_word_of": "another release"}))
    add(service, "two")
    said: list[str] = []
    assert work(service, WorkerOptions(once=True), say=said.append) == 2
    for name in ("one", "two"):
        assert (job(service, name).status, job(service, name).worker) == ("failed", None)
        assert json.loads(job(service, name).error)["code"] == "internal_error"


def test_a_job_whose_file_is_gone_fails_at_once(service: Service) -> None:
    asked = {"model": "b", "training_file": "file-1"}
    add(service, "one", asked=json.dumps(asked), chosen=json.dumps({"root": "b", "base": "b"}))
    assert work(service, WorkerOptions(once=True), say=lambda _: None) == 1
    assert job(service, "one").status == "failed"
    assert json.loads(job(service, "one").error)["code"] == "invalid_training_file"


def test_a_trainer_at_work_on_a_job_that_has_ended_answers_no_later_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"model": "b", "training_file": "file-1"}
    add(service, "one", asked=json.dumps(asked), chosen=json.dumps({"root": "b", "base": "b"}))
    killed: list[bool] = []

    def run(working: Working) -> str:
        working.trainer.busy = True
        raise OSError("the store is away")

    monkeypatch.setattr(Working, "run", run)
    monkeypatch.setattr(TrainerProcess, "kill", lambda trainer: killed.append(trainer.busy))
    assert work(service, WorkerOptions(once=True, retries=0), say=lambda _: None) == 1
    assert killed[0]
    assert len(killed) == 2, "once for the job, once at the end"
    assert job(service, "one").status == "failed"


def test_a_database_that_is_away_ends_no_worker(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    add(service, "one")
    away = [queue.claim, queue.holding]  # once each: while nothing is held, and while a job's end is written

    def gone(function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            if function in away:
                away.remove(function)
                raise RegistryError("registry/unreachable", "the database does not answer")
            return function(*given, **named)

        return call

    for name in ("claim", "holding"):
        monkeypatch.setattr(module.queue, name, gone(getattr(queue, name)))
    said: list[str] = []
    options = WorkerOptions(once=True, poll_seconds=0.01, lease_seconds=0.05)
    assert work(service, options, say=said.append) == 2, said
    assert (away, job(service, "one").status, job(service, "one").attempts) == ([], "failed", 1)
    assert sum("does not answer" in line for line in said) == 2


def test_what_ended_jobs_left_is_swept_and_nothing_else(service: Service) -> None:
    long_ago = time.time() - 1_000
    ends = {"cancelled": long_ago, "succeeded": long_ago, "failed": long_ago, "just": time.time(), "live": None}
    for name, finished in ends.items():
        status = {"just": "cancelled", "live": "queued"}.get(name, name)
        add(service, name, status=status, finished=finished, not_before=time.time() + 1_000)
    for name in (*ends, "unknown"):
        for part in ("data", "published", f"{name}-1/checkpoints"):
            (service.folder / "jobs" / name / part).mkdir(parents=True)
            (service.folder / "jobs" / name / part / "file").write_text("rows")
    add(service, "next")  # which the worker fails, so that it looks at an empty line before it ends
    assert work(service, WorkerOptions(once=True, slot="cpu"), stopping=Ending(), say=lambda _: None) == 1
    left = {str(path.relative_to(service.folder / "jobs")) for path in (service.folder / "jobs").rglob("file")}
    whole = {f"{name}/{part}/file" for name in ("just", "live", "unknown") for part in ("data", "published")}
    assert left == whole | {f"{name}/{name}-1/checkpoints/file" for name in ("just", "live", "unknown")}
    assert (service.folder / "jobs" / "failed" / "failed-1").is_dir()


def test_figures_of_a_file_that_was_cut_and_has_grown_past_where_it_was_read(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    figures = Figures(run)

    def write(*losses: float) -> None:
        lines = [{"step": step, "epoch": 1.0, "loss": loss} for step, loss in enumerate(losses, start=1)]
        run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    write(0.5, 0.4, 0.3)
    assert [each["step"] for each in figures.news()] == [1, 2]
    write(0.5, 0.25, 0.125, 0.0625, 0.03125)
    assert [each["train_loss"] for each in figures.news(last=True)] == [0.5, 0.25, 0.125, 0.0625, 0.03125]
    write(0.5, 0.25, 0.125, 0.0625, 0.03125, 0.01)
    assert [each["step"] for each in figures.news(last=True)] == [6]


def test_a_worker_finds_its_accelerator_without_loading_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)
    for visible, slot in (("0,1", "gpu"), ("", "cpu"), ("-1", "cpu")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert own_slot() == slot


def test_a_failed_job_says_what_to_do(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"model": "b", "training_file": "file-1"}
    add(service, "one", asked=json.dumps(asked), chosen=json.dumps({"root": "b", "base": "b"}))
    hint = f"say burnish.model.chat_template: plain in {service.home}/recipe.yaml"
    error = {"code": "model/no-template", "message": "no template", "hint": hint}
    monkeypatch.setattr(Working, "run", lambda working: working.failed("request", error))
    work(service, WorkerOptions(once=True), say=lambda _: None)
    said = json.loads(job(service, "one").error)["message"]
    assert said == "no template (hint: say burnish.model.chat_template: plain in recipe.yaml)"


@pytest.mark.parametrize(("cores", "setting", "threads"), [(8, None, "7"), (1, None, "1"), (8, "3", "3")])
def test_the_worker_of_a_server_leaves_it_a_core(
    monkeypatch: pytest.MonkeyPatch, cores: int, setting: str | None, threads: str
) -> None:
    chosen = settings().model_copy(update={"threads": None if setting is None else int(setting)})
    monkeypatch.setattr("burnish.settings.settings", lambda: chosen)
    monkeypatch.setattr("burnish.lifecycle.environment.default_threads", lambda: cores)
    parser = argparse.ArgumentParser()
    serve.arguments(lambda *_: parser)
    given = serve._worker_arguments(parser.parse_args([]))
    assert given[given.index("--threads") + 1] == threads


BEFORE_PEFT = """
import importlib, logging, sys
from burnish.lifecycle import trainer

assert "peft" not in sys.modules
for name in trainer.LOADED[: trainer.LOADED.index("peft")]:
    importlib.import_module(name)
assert not logging.getLogger("bitsandbytes.cextension").isEnabledFor(logging.WARNING)
"""


def test_the_trainer_prints_no_advice_to_fetch_code() -> None:
    """bitsandbytes gives it when peft is imported."""
    subprocess.run([sys.executable, "-c", BEFORE_PEFT], check=True, timeout=300)


def test_the_worker_of_a_server_takes_the_slot_it_is_given() -> None:
    parser = argparse.ArgumentParser()
    serve.arguments(lambda *_: parser)
    assert "--slot" not in serve._worker_arguments(parser.parse_args([]))
    given = serve._worker_arguments(parser.parse_args(["--slot", "gpu"]))
    assert given[given.index("--slot") + 1] == "gpu"
