"""The queue of jobs: rows that line up, are claimed for a while by one worker each, and are finished once.

A claim is a lease and a token. The lease runs out unless its worker extends it; then another worker may claim the job,
with the next token. Whatever a worker publishes goes through `holding`, in one transaction with the look at the token:
a worker that slept through its lease changes nothing any more. Only one transaction writes at a time (`writing`).
"""

from __future__ import annotations

import contextlib
import json
import secrets
import string
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select, and_, func, insert, or_, select, update

from burnish.errors import LeaseLostError, ServiceError
from burnish.registry.database import clock, reading, writing
from burnish.registry.service_tables import JOB_EVENTS, JOB_METADATA, JOBS, KEYS

VALIDATING, QUEUED, RUNNING = "validating_files", "queued", "running"
PAUSING, PAUSED = "pausing", "paused"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
LIVE = (VALIDATING, QUEUED, RUNNING, PAUSING, PAUSED)  # that may still come to an end
SLOTS: Mapping[str, Sequence[str]] = {"cpu": ("cpu",), "gpu": ("gpu", "cpu")}  # of a worker -> of the jobs it takes
SEEN = 100  # jobs of the line that are looked at for one that may run
LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Claim:
    """One job that one worker holds.

    Attributes:
        token: of this claim; larger than that of every claim before.
        row: of the job, as it was claimed.
    """

    job: str
    token: int
    worker: str
    row: RowMapping

    @property
    def held(self) -> ColumnElement[bool]:
        """What is true of the job's row as long as nobody else holds the job and nobody took it away."""
        return and_(JOBS.c.id == self.job, JOBS.c.token == self.token, JOBS.c.worker == self.worker)


def new_id(prefix: str, length: int = 24) -> str:
    """A random name, e.g. "ftjob-" and 24 letters and digits."""
    return prefix + "".join(secrets.choice(LETTERS) for _ in range(length))


def line_up(connection: Connection, values: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Puts a job at the end of the line, within a transaction that writes."""
    last = connection.scalar(select(func.max(JOBS.c.place))) or 0
    row = {"place": last + 1, "token": 0, "attempts": 0, "not_before": 0.0, **values}
    connection.execute(insert(JOBS).values(**row))
    pairs = [{"job": values["id"], "key": key, "value": value} for key, value in metadata.items()]
    if pairs:
        connection.execute(insert(JOB_METADATA), pairs)


def claim(engine: Engine, *, worker: str, slot: str, lease_seconds: float, retries: int) -> Claim | None:
    """The next job that this worker shall work on; None when no job may run now.

    The highest priority first, of these those for an accelerator, then the oldest; of a slot that the worker has, not
    before its time, and not more at once than the key of who asked for it allows. A job whose lease ran out is claimed
    like one that waits; after `retries` of them it fails.
    """
    with reading(engine) as connection:
        if connection.execute(_in_line(slot, clock(connection)).limit(1)).first() is None:
            return None
    with writing(engine) as connection:
        now = clock(connection)
        for row in connection.execute(_in_line(slot, now).limit(SEEN)).mappings().all():
            lost = row["worker"] is not None
            attempts = row["attempts"] + lost
            if lost and row["wanted"] == "pause":
                _lay_down(connection, row["id"], status=PAUSED, wanted=None)
                tell(connection, row["id"], f"paused {row['token']}", "The job is paused")
            elif lost and attempts > retries:
                _fail_lost(connection, row, attempts)
            else:
                taken = {"token": row["token"] + 1, "worker": worker, "lease_until": now + lease_seconds}
                connection.execute(update(JOBS).where(JOBS.c.id == row["id"]).values(**taken, attempts=attempts))
                found = connection.execute(select(JOBS).where(JOBS.c.id == row["id"])).mappings().one()
                return Claim(row["id"], taken["token"], worker, found)
    return None


def extend(engine: Engine, held: Claim, lease_seconds: float) -> str | None:
    """Makes a lease longer; gives what is wanted of the job: "pause" or None.

    Raises:
        LeaseLostError: [queue/lease-lost].
    """
    with holding(engine, held) as connection:
        values = {"lease_until": clock(connection) + lease_seconds}
        connection.execute(update(JOBS).where(held.held).values(**values))
        wanted = connection.scalar(select(JOBS.c.wanted).where(held.held))
        return None if wanted is None else str(wanted)


def wanted_of(engine: Engine, held: Claim) -> str | None:
    """What is wanted of the job, read without writing.

    Raises:
        LeaseLostError: [queue/lease-lost].
    """
    with reading(engine) as connection:
        row = connection.execute(select(JOBS.c.wanted).where(held.held)).first()
    if row is None:
        raise _lost(held)
    return None if row.wanted is None else str(row.wanted)


@contextlib.contextmanager
def holding(engine: Engine, held: Claim) -> Iterator[Connection]:
    """A transaction that writes what the holder of a job publishes: all of it, or nothing when the job is lost.

    Raises:
        LeaseLostError: [queue/lease-lost].
    """
    with writing(engine) as connection:
        if connection.scalar(select(JOBS.c.id).where(held.held)) is None:
            raise _lost(held)
        yield connection


def set_job(connection: Connection, held: Claim, **values: Any) -> None:
    """Changes the row of a job within `holding`."""
    connection.execute(update(JOBS).where(held.held).values(**values))


def lay_down(connection: Connection, held: Claim, **values: Any) -> None:
    """Ends a claim within `holding`: the job is finished, paused, or waits again."""
    _lay_down(connection, held.job, **values)


def fail(connection: Connection, held: Claim, error: Mapping[str, Any]) -> None:
    """Ends a job within `holding`, for good.

    Args:
        error: code, message, param.
    """
    ended = {"status": FAILED, "finished": time.time(), "wanted": None, "error": json.dumps(dict(error))}
    lay_down(connection, held, **ended)
    tell(connection, held.job, "end", f"The job failed: {error['message']}", level="error", data=error)


def take_away(connection: Connection, job: str, **values: Any) -> None:
    """Ends whatever claim there is on a job: its worker is refused from now on."""
    _lay_down(connection, job, token=JOBS.c.token + 1, **values)


def tell(
    connection: Connection,
    job: str,
    once: str,
    message: str,
    *,
    level: Literal["info", "warn", "error"] = "info",
    kind: Literal["message", "metrics"] = "message",
    data: Mapping[str, Any] | None = None,
) -> bool:
    """Adds an event to a job, unless it was told before; whether it was new.

    Args:
        once: what it tells, e.g. "step 20"; the same is told once, whoever tells it again.
    """
    known = select(JOB_EVENTS.c.id).where(JOB_EVENTS.c.job == job, JOB_EVENTS.c.once == once)
    if connection.scalar(known) is not None:
        return False
    row = {"id": new_id("ftevent-"), "job": job, "once": once, "created": time.time(), "level": level}
    said = json.dumps(data or {}, ensure_ascii=False, allow_nan=False)
    connection.execute(insert(JOB_EVENTS).values(**row, message=message, type=kind, data=said))
    return True


def find_row(engine: Engine, project: str, job: str) -> RowMapping:
    """The row of a project's job.

    Raises:
        ServiceError: [jobs/not-found], 404, also for a job of another project.
    """
    with reading(engine) as connection:
        return row_of(connection, project, job)


def row_of(connection: Connection, project: str, job: str) -> RowMapping:
    """The same within a transaction."""
    query = select(JOBS).where(JOBS.c.id == job, JOBS.c.project == project)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise ServiceError(
            "jobs/not-found",
            f"Could not find fine tune: {job[:64]}",
            status=404,
            param="fine_tuning_job_id",
            kind="fine_tune_not_found",
        )
    return row


def live_job_of_file(connection: Connection, file_id: str) -> str | None:
    """The id of a job that still needs a file, which is therefore not deleted; None where there is no such job."""
    uses = or_(JOBS.c.training_file == file_id, JOBS.c.validation_file == file_id)
    found = connection.scalar(select(JOBS.c.id).where(uses, JOBS.c.status.in_(LIVE)).limit(1))
    return None if found is None else str(found)


def live_job_of_model(connection: Connection, project: str, name: str) -> str | None:
    """The same for a model that a job of a project starts from."""
    live = select(JOBS.c.id, JOBS.c.chosen).where(JOBS.c.project == project, JOBS.c.status.in_(LIVE))
    return next((str(row.id) for row in connection.execute(live) if json.loads(row.chosen).get("base") == name), None)


def waiting(engine: Engine, slots: Collection[str] = ("cpu", "gpu")) -> int:
    """How many jobs are not finished and not paused: what the workers still have to do."""
    query = select(func.count()).where(JOBS.c.status.in_((VALIDATING, QUEUED, RUNNING, PAUSING)))
    with reading(engine) as connection:
        return int(connection.scalar(query.where(JOBS.c.slot.in_(tuple(slots)))) or 0)


def _in_line(slot: str, now: float) -> Select[Any]:
    """Jobs that nobody holds and that may run now, in the order in which they are claimed."""
    others = JOBS.alias()
    running = select(others.c.key, func.count().label("jobs")).where(others.c.lease_until >= now)
    held = running.group_by(others.c.key).subquery()
    few = or_(KEYS.c.max_jobs.is_(None), func.coalesce(held.c.jobs, 0) < KEYS.c.max_jobs)
    keys = JOBS.outerjoin(KEYS, KEYS.c.id == JOBS.c.key).outerjoin(held, held.c.key == JOBS.c.key)
    free = or_(JOBS.c.lease_until.is_(None), JOBS.c.lease_until < now)
    claimable = JOBS.c.status.in_((VALIDATING, QUEUED, RUNNING, PAUSING))
    due = or_(JOBS.c.status.in_((RUNNING, PAUSING)), JOBS.c.not_before <= now)
    query = select(JOBS).select_from(keys).where(claimable, JOBS.c.slot.in_(SLOTS[slot]), free, due, few)
    return query.order_by(JOBS.c.priority.desc(), JOBS.c.slot.desc(), JOBS.c.place)  # "gpu" before "cpu"


def _lay_down(connection: Connection, job: str, **values: Any) -> None:
    free = {"worker": None, "lease_until": None}
    connection.execute(update(JOBS).where(JOBS.c.id == job).values(**free, **values))


def _fail_lost(connection: Connection, row: RowMapping, attempts: int) -> None:
    """The end of a job whose workers died under it, time after time."""
    message = f"The machine that worked on this job was lost {attempts} times."
    error = {"code": "server_error", "message": message, "param": None}
    _lay_down(connection, row["id"], status=FAILED, finished=time.time(), attempts=attempts, error=json.dumps(error))
    tell(connection, row["id"], "end", message, level="error")


def _lost(held: Claim) -> LeaseLostError:
    return LeaseLostError("queue/lease-lost", "another worker has this job now, or it was cancelled", where=held.job)
