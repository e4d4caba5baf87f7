"""The line of jobs: who is next, who holds a job, and that whoever lost one changes nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select, update

from burnish.errors import LeaseLostError
from burnish.registry import queue
from burnish.registry.database import open_database, reading, writing
from burnish.registry.queue import Claim, claim, extend, holding, lay_down, line_up, tell
from burnish.registry.service_tables import JOB_EVENTS, JOBS, KEYS


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(tmp_path, None)


def add(engine: Engine, job: str, **changes: Any) -> None:
    row = {"id": job, "project": "p", "created": time.time(), "status": "queued", "asked": "{}", "chosen": "{}"}
    row |= {"base": "b", "seed": 1, "training_file": "file-1", "priority": 0, "slot": "cpu"}
    with writing(engine) as connection:
        line_up(connection, {**row, **changes}, {})


def take(engine: Engine, worker: str = "one", slot: str = "cpu", lease: float = 60.0, retries: int = 3) -> Claim | None:
    return claim(engine, worker=worker, slot=slot, lease_seconds=lease, retries=retries)


def row(engine: Engine, job: str) -> Any:
    with reading(engine) as connection:
        return connection.execute(select(JOBS).where(JOBS.c.id == job)).one()


def expire(engine: Engine, job: str) -> None:
    """As if the worker had been silent for longer than its lease."""
    with writing(engine) as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job).values(lease_until=1.0))


def test_the_next_job_is_the_one_with_the_highest_priority_then_the_oldest(engine: Engine) -> None:
    add(engine, "old")
    add(engine, "new")
    add(engine, "urgent", priority=5)
    add(engine, "later", priority=9, not_before=time.time() + 1_000)
    add(engine, "paused", priority=9, status="paused")
    taken = [take(engine) for _ in range(4)]
    assert [each and each.job for each in taken] == ["urgent", "old", "new", None]


def test_a_gpu_takes_jobs_for_a_cpu_and_not_the_other_way_round(engine: Engine) -> None:
    add(engine, "large", slot="gpu")
    assert take(engine, slot="cpu") is None
    add(engine, "small")
    add(engine, "also large", slot="gpu")
    add(engine, "urgent", priority=1)
    order = [getattr(take(engine, slot="gpu"), "job", None) for _ in range(4)]
    assert order == ["urgent", "large", "also large", "small"]


def test_a_key_has_as_many_jobs_running_as_it_may(engine: Engine) -> None:
    key = {"id": "k", "sha256": "", "project": "p", "role": "writer", "name": "n", "created": 0.0, "max_jobs": 1}
    with writing(engine) as connection:
        connection.execute(insert(KEYS).values(**key))
    for name in ("a", "b"):
        add(engine, name, key="k")
    add(engine, "of another", key=None)
    first = take(engine)
    assert first is not None
    assert getattr(take(engine), "job", None) == "of another"
    assert take(engine) is None
    with holding(engine, first) as connection:
        lay_down(connection, first, status="succeeded")
    assert getattr(take(engine), "job", None) == "b"


def test_a_long_history_and_a_key_that_may_run_no_more_cost_an_idle_look_little(engine: Engine) -> None:
    """Counted in instructions of SQLite: a count of the history for each waiting job would take some 10 million."""
    key = {"id": "k", "sha256": "", "project": "p", "role": "writer", "name": "n", "created": 0.0, "max_jobs": 1}
    row = {"project": "p", "key": "k", "created": 0.0, "asked": "{}", "chosen": "{}", "base": "b", "seed": 1}
    row |= {"training_file": "f", "priority": 0, "slot": "cpu", "token": 0, "not_before": 0.0, "attempts": 0}
    finished = [{**row, "id": f"old-{n}", "place": n, "status": "succeeded"} for n in range(4_000)]
    waiting = [{**row, "id": f"new-{n}", "place": 4_000 + n, "status": "queued"} for n in range(500)]
    with writing(engine) as connection:
        connection.execute(insert(KEYS).values(**key))
        connection.execute(insert(JOBS), finished + waiting)
    assert take(engine) is not None
    counted: list[None] = []

    def count(connection: Any, _: object) -> None:
        connection.set_progress_handler(lambda: counted.append(None), 1_000)

    event.listen(engine, "connect", count)
    assert take(engine) is None
    assert len(counted) < 500


def test_who_was_overtaken_publishes_nothing(engine: Engine) -> None:
    add(engine, "a", status="validating_files")
    slow = take(engine, "slow")
    assert slow is not None
    assert take(engine, "fast") is None, "a job is held by one worker"
    expire(engine, "a")
    fast = take(engine, "fast")
    assert fast is not None
    assert fast.token == slow.token + 1
    with pytest.raises(LeaseLostError):
        extend(engine, slow, 60.0)
    with pytest.raises(LeaseLostError):
        queue.wanted_of(engine, slow)
    with pytest.raises(LeaseLostError), holding(engine, slow) as connection:
        lay_down(connection, slow, status="succeeded")
    assert row(engine, "a").status == "validating_files"
    assert extend(engine, fast, 60.0) is None


def test_a_worker_that_gave_a_job_back_holds_it_no_more(engine: Engine) -> None:
    add(engine, "a")
    held = take(engine)
    assert held is not None
    with holding(engine, held) as connection:
        lay_down(connection, held, status="queued")
    with pytest.raises(LeaseLostError):
        extend(engine, held, 60.0)


def test_nothing_of_a_transaction_stays_when_it_fails(engine: Engine) -> None:
    add(engine, "a")
    held = take(engine)
    assert held is not None
    with pytest.raises(TypeError), holding(engine, held) as connection:
        assert tell(connection, "a", "step 1", "told") + len(5)  # type: ignore[arg-type]
    with reading(engine) as connection:
        assert connection.execute(select(JOB_EVENTS)).all() == []


def test_the_same_is_told_once(engine: Engine) -> None:
    add(engine, "a")
    with writing(engine) as connection:
        told = [tell(connection, "a", once, once) for once in ("step 1", "step 2", "step 1")]
    assert told == [True, True, False]


def test_a_job_whose_workers_die_time_after_time_fails(engine: Engine) -> None:
    add(engine, "a")
    tokens = []
    while (held := take(engine, retries=2)) is not None:
        tokens.append(held.token)
        expire(engine, "a")
    assert tokens == [1, 2, 3]
    found = row(engine, "a")
    assert (found.status, found.worker, json.loads(found.error)["code"]) == ("failed", None, "server_error")


def test_a_job_that_only_waits_is_not_failed_by_a_worker_with_less_patience(engine: Engine) -> None:
    add(engine, "a", attempts=1)
    assert take(engine, retries=0) is not None


def test_a_job_that_shall_pause_and_whose_worker_died_is_paused(engine: Engine) -> None:
    add(engine, "a")
    take(engine)
    with writing(engine) as connection:
        connection.execute(update(JOBS).values(status="pausing", wanted="pause", lease_until=1.0))
    assert take(engine) is None
    assert (row(engine, "a").status, row(engine, "a").wanted) == ("paused", None)
