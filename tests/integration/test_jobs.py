"""Jobs of the service from request to served model, with a worker that is paused, overtaken and killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from burnish.errors import LeaseLostError, ServiceError
from burnish.lifecycle import jobs
from burnish.lifecycle.job_recipe import JobRequest
from burnish.lifecycle.jobs import Job, create_job, find_job, list_checkpoints, list_events
from burnish.lifecycle.service import Service
from burnish.lifecycle.trainer_process import TrainerProcess
from burnish.lifecycle.work import Heartbeat, Stopping, WorkerOptions, _work_on
from burnish.lifecycle.work_job import Working
from burnish.registry import queue
from burnish.registry.database import open_database, reading, writing
from burnish.registry.files import delete_file, file_path, find_file
from burnish.registry.queue import Claim, claim
from burnish.registry.served import find_served
from burnish.registry.service_tables import JOB_EVENTS, JOBS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]
if os.name != "nt":
    import job_storm
    from service_jobs import PROJECT, QUICK, asked_for, chat_rows, messages, sent, service_at, started_worker, until

STEPS = 100
LONG = {**QUICK, "training": {"max_steps": STEPS, "evaluate_every_steps": 25, "patience": 50}}
MANY = {"batch_size": 8, "n_epochs": 50}
OPTIONS = WorkerOptions(lease_seconds=4.0, backoff_seconds=0.01)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BURNISH_THREADS", "1")
        patch.setenv("BURNISH_DATABASE_URL_OF_SOMEBODY", "marker-secret")
        yield


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, language_base: Path) -> Service:
    return service_at(tmp_path_factory.mktemp("service"), language_base)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainerProcess]:
    """One warm trainer for all jobs of these tests."""
    process = TrainerProcess(tmp_path_factory.mktemp("trainer") / "home", slot="cpu")
    yield process
    process.close()


@pytest.fixture(scope="module")
def chats_file(service: Service) -> str:
    return sent(service, chat_rows(40))


@pytest.fixture(scope="module")
def long_job(service: Service, trainer: TrainerProcess, chats_file: str) -> Job:
    """A job of many steps that nothing happened to."""
    return worked(service, trainer, asked_for(service, chats_file, burnish=LONG, hyperparameters=MANY))


def taken(service: Service, job: Job, worker: str = "tester", lease: float = 60.0) -> Claim:
    """The claim of a job, which is the only one in the line."""
    held = claim(service.registry.engine, worker=worker, slot="gpu", lease_seconds=lease, retries=100)
    assert held is not None
    assert held.job == job.id
    return held


def worked(service: Service, trainer: TrainerProcess, job: Job, stopping: Stopping | None = None) -> Job:
    """A job after one claim of it."""
    said: list[str] = []
    _work_on(service, taken(service, job), trainer, OPTIONS, stopping or Stopping(), said.append)
    return find_job(service, PROJECT, job.id)


def weights(service: Service, name: str) -> dict[str, str]:
    """sha256 of the weights of a served model."""
    version = service.registry.get(find_served(service.registry, name, PROJECT).version)
    return {file: sha256 for file, sha256 in version.files.items() if file.endswith(".safetensors")}


def meanwhile(happened: Callable[[], Any], act: Callable[[], Any]) -> threading.Thread:
    """Does something as soon as something happened, while the test works on."""
    thread = threading.Thread(target=lambda: (until(happened, "what was waited for", every=0.01), act()))
    thread.start()
    return thread


def told(service: Service, job: Job, once: str) -> bool:
    query = select(JOB_EVENTS.c.id).where(JOB_EVENTS.c.job == job.id, JOB_EVENTS.c.once == once)
    with reading(service.registry.engine) as connection:
        return connection.scalar(query) is not None


def steps_told(service: Service, job: Job) -> list[int]:
    found = list_events(service, PROJECT, job.id, limit=10_000)[0]
    return [event.data["step"] for event in reversed(found) if event.type == "metrics"]


def needed_by(service: Service, file_id: str) -> str | None:
    with reading(service.registry.engine) as connection:
        return queue.live_job_of_file(connection, file_id)


def test_a_job_from_its_request_to_its_model(service: Service, trainer: TrainerProcess, chats_file: str) -> None:
    about = {"model": "gpt-4o-mini", "suffix": "sums", "metadata": {"team": "a"}}
    job = asked_for(service, chats_file, **about, hyperparameters={"learning_rate_multiplier": 0.5})
    assert job.status == "validating_files"
    assert needed_by(service, chats_file) == job.id
    done = worked(service, trainer, job)
    assert (done.status, done.error, done.metadata) == ("succeeded", None, {"team": "a"})
    assert done.model == f"ft:gpt-4o-mini:local:sums:{job.id.partition('-')[2][:8]}"
    assert needed_by(service, chats_file) is None
    said = messages(service, job.id)
    assert said[0] == f"Created fine-tuning job: {job.id}"
    assert said[1] == "The base model of gpt-4o-mini is tiny here"
    assert said[2:5] == [
        f"Validating training file: {chats_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert said[-2:] == [f"New fine-tuned model created: {done.model}", "The job has successfully completed"]
    assert steps_told(service, job) == [1, 2]
    chosen = done.chosen
    assert (chosen["n_epochs"], chosen["batch_size"], chosen["learning_rate_multiplier"]) == (3, 2, 0.5)
    assert chosen["learning_rate"] == pytest.approx(0.0065)  # half of the rate for LoRA on a base of this width
    assert chosen["verdict"]["answer"] in ("better", "same", "worse", "too little data")
    assert (done.trained_tokens or 0) > 50
    result = find_file(service.registry, PROJECT, str(done.result_file))
    table = file_path(service.registry, result).read_text(encoding="utf-8").splitlines()
    assert result.purpose == "fine-tune-results"
    assert table[0].startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,full_valid_loss,")
    assert [line.partition(",")[0] for line in table[1:]] == ["1", "2"]
    (checkpoint,), more = list_checkpoints(service, PROJECT, job.id)
    assert (checkpoint.step, more, checkpoint.model) == (2, False, f"{done.model}:ckpt-step-2")
    assert checkpoint.metrics["valid_loss"] > 0
    assert weights(service, checkpoint.model) == weights(service, str(done.model))
    assert not (service.folder / "jobs" / job.id).exists(), "all that is needed is in the registry"

    for base in (str(done.model), checkpoint.model):  # one goes on from a tuned model, or a state of it
        child = worked(service, trainer, asked_for(service, chats_file, model=base, suffix="more"))
        assert child.status == "succeeded", child.error
        assert str(child.model).startswith("ft:gpt-4o-mini:local:more:")


def test_a_trainer_runs_without_the_secrets_of_its_worker(trainer: TrainerProcess) -> None:
    environment = Path(f"/proc/{trainer.child and trainer.child.pid}/environ")
    if not environment.exists():
        pytest.skip("the system does not show environments")
    assert b"marker-secret" in Path("/proc/self/environ").read_bytes() or "marker-secret" in os.environ.values()
    assert b"marker-secret" not in environment.read_bytes()


TASKS = {
    "text-classification": ("", "rows.csv", {"method": "head"}),
    "embedding": (
        "".join(
            json.dumps({"anchor": f"where is card {n}", "positive": f"card {n} is late"}) + "\n" for n in range(40)
        ),
        "pairs.jsonl",
        {},
    ),
    "tabular": (
        "age,plan,churn\n" + "".join(f"{20 + n},{'ab'[n % 2]},{'yes' if n % 2 else 'no'}\n" for n in range(60)),
        "people.csv",
        {"table": {"drop": []}},
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_other_tasks_are_trained_by_the_extra_block(
    service: Service, trainer: TrainerProcess, sentence_base: Path, toy_rows: list[tuple[str, str]], task: str
) -> None:
    rows, name, extra = TASKS[task]
    rows = rows or "text,label\n" + "".join(f"{text},{label}\n" for text, label in toy_rows[:120])
    several = service_at(service.home, sentence_base)
    block = {**QUICK, "task": task, **extra}
    if extra.get("method") == "head":
        block["training"] = {}
    model = "ft-transformer" if task == "tabular" else "tiny"
    file_id = sent(several, rows, name)
    done = worked(several, trainer, asked_for(several, file_id, model=model, burnish=block, hyperparameters={}))
    assert done.error is None
    assert find_served(several.registry, str(done.model), PROJECT).task == task


def test_preferences_are_trained_by_the_method_dpo(service: Service, trainer: TrainerProcess) -> None:
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"say {n}"}]},
            "preferred_output": [{"role": "assistant", "content": f"{n}"}],
            "non_preferred_output": [{"role": "assistant", "content": "no"}],
        }
        for n in range(20)
    ]
    file_id = sent(service, "".join(json.dumps(row) + "\n" for row in rows))
    done = worked(service, trainer, asked_for(service, file_id, method="dpo", hyperparameters={"beta": 0.2}))
    assert done.error is None
    assert (done.chosen["task"], done.chosen["beta"]) == ("preference", 0.2)


def test_wrong_rows_are_refused_early_or_fail_the_job_with_their_lines(
    service: Service, trainer: TrainerProcess
) -> None:
    wrong = json.dumps({"messages": [{"role": "user", "content": "hi"}]})
    good = chat_rows(200).splitlines()
    early = sent(service, "\n".join([*good[:6], wrong, *good[7:]]))
    with pytest.raises(ServiceError, match="line 7: the last turn is the user's") as refusal:
        asked_for(service, early)
    assert (refusal.value.status, refusal.value.kind, refusal.value.param) == (
        400,
        "invalid_training_file",
        "training_file",
    )
    with pytest.raises(ServiceError, match="9 examples, but at least 10"):
        asked_for(service, sent(service, "\n".join(good[:9])))
    late = sent(service, "\n".join([*good[:150], *[wrong] * 25, *good[150:]]))
    failed = worked(service, trainer, asked_for(service, late))
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error["code"], failed.error["param"]) == ("invalid_training_file", "training_file")
    assert "25 problems: line 151: the last turn is the user's" in failed.error["message"]
    assert failed.error["message"].endswith("; and 5 more")
    assert str(service.home) not in json.dumps(messages(service, failed.id))


def test_a_pause_keeps_every_bit(service: Service, trainer: TrainerProcess, chats_file: str, long_job: Job) -> None:
    job = asked_for(service, chats_file, burnish=LONG, hyperparameters=MANY)
    pauses = meanwhile(lambda: told(service, job, "step 1"), lambda: jobs.pause_job(service, PROJECT, job.id))
    paused = worked(service, trainer, job)
    pauses.join()
    assert paused.status == "paused"
    assert jobs.resume_job(service, PROJECT, job.id).status == "queued"
    done = worked(service, trainer, job)
    assert done.status == "succeeded"
    assert weights(service, str(done.model)) == weights(service, str(long_job.model))
    assert steps_told(service, job) == list(range(1, STEPS + 1))
    assert "The job pauses after its current step" in messages(service, job.id)
    assert done.trained_tokens == long_job.trained_tokens


def test_a_killed_trainer_costs_nothing_but_time(
    service: Service, trainer: TrainerProcess, chats_file: str, long_job: Job
) -> None:
    job = asked_for(service, chats_file, burnish=LONG, hyperparameters=MANY)
    kills = meanwhile(lambda: told(service, job, "checkpoint 25"), lambda: os.kill(pid_of(trainer), signal.SIGKILL))
    waits = worked(service, trainer, job)
    kills.join()
    assert (waits.status, waits.error) == ("queued", None)
    assert any("was killed by SIGKILL" in message for message in messages(service, job.id))
    until(lambda: find_row_due(service, job), "the retry is due")
    done = worked(service, trainer, job)
    assert done.status == "succeeded"
    assert weights(service, str(done.model)) == weights(service, str(long_job.model))
    assert steps_told(service, job) == list(range(1, STEPS + 1))
    assert [c.step for c in list_checkpoints(service, PROJECT, job.id)[0]] == [
        c.step for c in list_checkpoints(service, PROJECT, long_job.id)[0]
    ]


def pid_of(trainer: TrainerProcess) -> int:
    assert trainer.child is not None
    return trainer.child.pid


def find_row_due(service: Service, job: Job) -> bool:
    return float(queue.find_row(service.registry.engine, PROJECT, job.id)["not_before"]) <= time.time()


def test_a_worker_that_was_overtaken_changes_nothing(
    service: Service, trainer: TrainerProcess, chats_file: str
) -> None:
    job = asked_for(service, chats_file)
    slow = taken(service, job, "slow")
    with writing(service.registry.engine) as connection:  # as if it had slept for longer than its lease
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(lease_until=1.0))
    fast = taken(service, job, "fast")
    before = messages(service, job.id)
    asleep = Heartbeat(service, slow, 60.0)  # never begun: it notices nothing by itself
    working = Working(service, slow, trainer, asleep, Stopping(), OPTIONS)
    with pytest.raises(LeaseLostError):
        working.run()
    working.leave()
    assert messages(service, job.id) == before
    assert find_job(service, PROJECT, job.id).status == "validating_files"
    said: list[str] = []
    _work_on(service, fast, trainer, OPTIONS, Stopping(), said.append)
    assert find_job(service, PROJECT, job.id).status == "succeeded"
    with pytest.raises(LeaseLostError):
        working.failed("machine", {"code": "x", "message": "late"})
    assert find_job(service, PROJECT, job.id).status == "succeeded"


def test_a_cancelled_job_stops_its_trainer(service: Service, trainer: TrainerProcess, chats_file: str) -> None:
    job = asked_for(service, chats_file, burnish=LONG, hyperparameters=MANY)
    cancels = meanwhile(lambda: told(service, job, "step 1"), lambda: jobs.cancel_job(service, PROJECT, job.id))
    assert worked(service, trainer, job).status == "cancelled"
    cancels.join()
    assert not (service.folder / "jobs" / job.id).exists()
    assert messages(service, job.id)[-1] == "The job was cancelled"
    for act in (jobs.pause_job, jobs.resume_job):
        with pytest.raises(ServiceError, match="is cancelled") as refusal:
            act(service, PROJECT, job.id)
        assert refusal.value.status == 409
    assert jobs.cancel_job(service, PROJECT, job.id).status == "cancelled"


def test_a_job_is_its_projects_own(service: Service, chats_file: str) -> None:
    asked = JobRequest(model="tiny", training_file=chats_file, seed=1, idempotency_key="once")
    job = create_job(service, PROJECT, None, asked)
    assert create_job(service, PROJECT, None, asked).id == job.id
    with pytest.raises(ServiceError, match="another request"):
        create_job(service, PROJECT, None, JobRequest(model="tiny", training_file=chats_file, idempotency_key="once"))
    acts: list[Callable[..., Any]] = [find_job, jobs.pause_job, jobs.cancel_job, jobs.resume_job]
    for act in [*acts, list_events, list_checkpoints]:
        with pytest.raises(ServiceError) as refusal:
            act(service, "another", job.id)
        assert refusal.value.status == 404
    with pytest.raises(ServiceError, match="does not exist"):
        create_job(service, "another", None, JobRequest(model="tiny", training_file=chats_file))
    with pytest.raises(ServiceError, match="does not exist") as unknown:
        create_job(service, PROJECT, None, JobRequest(model="tini", training_file=chats_file))
    assert unknown.value.kind == "model_not_found"
    page, more = jobs.list_jobs(service, PROJECT, limit=1)
    assert ([each.id for each in page], more) == ([job.id], True)
    assert job.id not in [each.id for each in jobs.list_jobs(service, PROJECT, after=job.id, limit=100)[0]]
    assert jobs.list_jobs(service, "another") == ([], False)
    jobs.cancel_job(service, PROJECT, job.id)


def test_a_worker_that_is_asked_to_end_gives_its_job_back(
    service: Service, trainer: TrainerProcess, chats_file: str, tmp_path: Path, long_job: Job
) -> None:
    longer = {**LONG, "training": {**LONG["training"], "max_steps": 4_000}}
    about = {"batch_size": 1, "n_epochs": 50}
    job = asked_for(service, chats_file, burnish=longer, hyperparameters=about)
    worker = started_worker(service, tmp_path / "log")
    until(lambda: steps_told(service, job) or worker.poll() is not None, "the first steps")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=120) == 0, (tmp_path / "log").read_text(encoding="utf-8")
    given_back = find_job(service, PROJECT, job.id)
    assert given_back.status == "queued"
    assert list_checkpoints(service, PROJECT, job.id)[0], "it goes on from where it was stopped"
    jobs.cancel_job(service, PROJECT, job.id)


def test_a_storm(tmp_path: Path, language_base: Path) -> None:
    outcome = job_storm.storm(tmp_path, language_base, workers=2, jobs=3, faults=2, seed=1)
    assert outcome.wrong == [], str(outcome.wrong)


def test_a_storm_in_postgresql(tmp_path: Path, language_base: Path, postgresql: str) -> None:
    outcome = job_storm.storm(tmp_path, language_base, workers=2, jobs=3, faults=2, seed=2, url=postgresql)
    assert outcome.wrong == [], str(outcome.wrong)


def test_a_file_that_goes_while_a_job_is_asked_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sent(service, chat_rows(12))
    monkeypatch.setattr(jobs, "_root", lambda *_: delete_file(service.registry, PROJECT, file) or "tiny")
    with pytest.raises(ServiceError) as caught:
        asked_for(service, file)
    assert (caught.value.status, caught.value.param) == (400, "training_file")


def test_files_of_ended_jobs_may_go(service: Service, long_job: Job, chats_file: str) -> None:
    assert needed_by(service, chats_file) is None
    delete_file(service.registry, PROJECT, str(long_job.result_file))
    open_database.cache_clear()
