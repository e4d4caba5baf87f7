"""Fine-tuning jobs as their owner sees them: asked for, looked at, paused, gone on with, cancelled.

Everybody sees the jobs of their own project; a job of another project is one that does not exist. What happens to a
job while a worker has it, is in `lifecycle/work.py`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, select, update
from sqlalchemy.exc import IntegrityError

from burnish.errors import ServiceError
from burnish.lifecycle.attempt import job_folder
from burnish.lifecycle.job_recipe import (
    LARGEST_SEED,
    JobRequest,
    check_request,
    is_base,
    known_base,
    priority_of,
    recipe_tree,
    refused,
    slot_of,
)
from burnish.lifecycle.job_rows import FIRST_ROWS, check_file
from burnish.lifecycle.service import Service
from burnish.registry import queue
from burnish.registry.database import reading, writing
from burnish.registry.files import StoredFile, file_path, find_file, require_files
from burnish.registry.served import require_served
from burnish.registry.service_tables import JOB_CHECKPOINTS, JOB_EVENTS, JOB_METADATA, JOBS, SERVED
from burnish.storage.durable import remove_folder

MOST_LIVE = 1_000  # jobs of a project that are not finished
PURPOSE = "fine-tune"
DEFAULT_PROJECT, LOCAL = "default", "local"  # the project of those who need no key, and what names of models call it
PARAM = "fine_tuning_job_id"


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    Attributes:
        status: one of the protocol's: validating_files, queued, running, pausing, paused, succeeded, failed, cancelled.
        asked: the request.
        chosen: what "auto" became (n_epochs, batch_size, learning_rate_multiplier, learning_rate, beta), the base
            behind an alias ("base"), the task and the verdict, each as soon as it is known.
        model: name of the tuned model, once there is one.
        error: {"code", "message", "param"} of a job that failed, else None.
        created, started, finished: seconds since the epoch.
        attempt: how often a worker has begun with it.
    """

    id: str
    project: str
    status: str
    asked: JobRequest
    chosen: Mapping[str, Any]
    metadata: Mapping[str, str]
    seed: int
    training_file: str
    validation_file: str | None
    result_file: str | None
    model: str | None
    error: Mapping[str, Any] | None
    created: float
    started: float | None
    finished: float | None
    trained_tokens: int | None
    priority: int
    slot: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job.

    Attributes:
        level: "info", "warn" or "error".
        type: "message", or "metrics" for the figures of a step.
    """

    id: str
    job: str
    created: float
    level: str
    message: str
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobCheckpoint:
    """A state of a job that its model was saved in.

    Attributes:
        model: name that it is served by once the job has succeeded.
        metrics: of that step, in the words of the events.
    """

    id: str
    job: str
    created: float
    step: int
    model: str
    metrics: Mapping[str, Any]


def create_job(service: Service, project: str, key_id: str | None, asked: JobRequest) -> Job:
    """Puts a job in the line.

    Raises:
        ServiceError: 400 naming the field for whatever is wrong with the request or the first rows of its files;
            [jobs/same-key-other-request], 409; [jobs/too-many], 429.
    """
    check_request(asked)
    known = known_base(service, project, asked.model)
    engine = service.registry.engine
    earlier = _earlier(service, project, asked)
    if earlier is not None:
        return earlier
    training = _usable_file(service, project, asked, "training_file")
    if asked.validation_file is not None:
        _usable_file(service, project, asked, "validation_file")
    job_id = queue.new_id("ftjob-")
    seed = secrets.randbelow(LARGEST_SEED) if asked.seed is None else asked.seed
    chosen = {"base": known, "root": _root(service, known, asked.model), "filename": training.filename}
    values = {
        "id": job_id,
        "project": project,
        "key": key_id,
        "idempotency_key": asked.idempotency_key,
        "created": time.time(),
        "status": queue.VALIDATING,
        "base": asked.model,
        "seed": seed,
        "training_file": asked.training_file,
        "validation_file": asked.validation_file,
        "asked": json.dumps(asked.as_dict()),
        "chosen": json.dumps(chosen),
        "priority": priority_of(asked),
        "slot": slot_of(asked),
    }
    try:
        with writing(engine) as connection:
            _require_room(connection, project)
            _require_still_there(connection, service, project, asked, known)
            queue.line_up(connection, values, asked.metadata)
            queue.tell(connection, job_id, "created", f"Created fine-tuning job: {job_id}")
            if known != asked.model:
                queue.tell(connection, job_id, "base", f"The base model of {asked.model} is {known} here")
            queue.tell(connection, job_id, "validating", f"Validating training file: {asked.training_file}")
            if values["slot"] == "gpu":
                queue.tell(connection, job_id, "slot", "The job waits for a worker with an accelerator (--slot gpu)")
    except IntegrityError:  # the same request was here twice at once
        earlier = _earlier(service, project, asked)
        if earlier is None:
            raise
        return earlier
    return find_job(service, project, job_id)


def find_job(service: Service, project: str, job_id: str) -> Job:
    """A job of a project.

    Raises:
        ServiceError: [jobs/not-found], 404.
    """
    with reading(service.registry.engine) as connection:
        return _jobs(connection, [queue.row_of(connection, project, job_id)])[0]


def list_jobs(
    service: Service,
    project: str,
    *,
    after: str | None = None,
    limit: int = 20,
    metadata: Mapping[str, str] | None = None,
) -> tuple[list[Job], bool]:
    """Jobs of a project, the newest first, and whether there are more.

    Args:
        after: id of the last job of the page before.
        metadata: pairs that the jobs must have; {}: jobs that have none; None: all.

    Raises:
        ServiceError: [jobs/bad-cursor], 400, when `after` is no job of the project.
    """
    query = select(JOBS).where(JOBS.c.project == project)
    if metadata is not None and not metadata:
        query = query.where(JOBS.c.id.not_in(select(JOB_METADATA.c.job)))
    for key, value in (metadata or {}).items():
        pair = select(JOB_METADATA.c.job).where(JOB_METADATA.c.key == key, JOB_METADATA.c.value == value)
        query = query.where(JOBS.c.id.in_(pair))
    with reading(service.registry.engine) as connection:
        if after is not None:
            mine = select(JOBS.c.place).where(JOBS.c.id == after, JOBS.c.project == project)
            query = query.where(JOBS.c.place < _place(connection, mine))
        rows = connection.execute(query.order_by(JOBS.c.place.desc()).limit(limit + 1)).mappings().all()
        return _jobs(connection, rows[:limit]), len(rows) > limit


def pause_job(service: Service, project: str, job_id: str) -> Job:
    """Stops a job after its current step, with a checkpoint; one that still waits is paused at once.

    Raises:
        ServiceError: [jobs/not-found], 404; [jobs/wrong-state], 409.
    """
    with writing(service.registry.engine) as connection:
        row = queue.row_of(connection, project, job_id)
        _require_status(row, "pause", queue.VALIDATING, queue.QUEUED, queue.RUNNING)
        if row["worker"] is None:
            queue.take_away(connection, job_id, status=queue.PAUSED, wanted=None)
            queue.tell(connection, job_id, f"paused {row['token'] + 1}", "The job is paused")
        else:
            change = update(JOBS).where(JOBS.c.id == job_id)
            connection.execute(change.values(status=queue.PAUSING, wanted="pause"))
            queue.tell(connection, job_id, f"pausing {row['token']}", "The job pauses after its current step")
    return find_job(service, project, job_id)


def resume_job(service: Service, project: str, job_id: str) -> Job:
    """Lets a paused job go on from where it stopped, as soon as a worker is free.

    Raises:
        ServiceError: [jobs/not-found], 404; [jobs/wrong-state], 409.
    """
    with writing(service.registry.engine) as connection:
        row = queue.row_of(connection, project, job_id)
        _require_status(row, "resume", queue.PAUSED)
        validated = "recipe" in json.loads(row["chosen"])
        status = queue.QUEUED if validated else queue.VALIDATING
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(status=status, not_before=0.0))
        queue.tell(connection, job_id, f"resumed {row['token']}", "The job is in the line again")
    return find_job(service, project, job_id)


def cancel_job(service: Service, project: str, job_id: str) -> Job:
    """Ends a job for good. To cancel a cancelled job changes nothing.

    Raises:
        ServiceError: [jobs/not-found], 404; [jobs/wrong-state], 409, for a job that has ended otherwise.
    """
    with writing(service.registry.engine) as connection:
        row = queue.row_of(connection, project, job_id)
        if row["status"] != queue.CANCELLED:
            _require_status(row, "cancel", *queue.LIVE)
            ended = {"status": queue.CANCELLED, "finished": time.time(), "wanted": None}
            queue.take_away(connection, job_id, **ended)
            queue.tell(connection, job_id, "end", "The job was cancelled")
    if row["worker"] is None:  # else the worker deletes it when it has stopped
        remove_folder(job_folder(service.folder, job_id))
    return find_job(service, project, job_id)


def list_events(
    service: Service, project: str, job_id: str, *, after: str | None = None, limit: int = 20
) -> tuple[list[Event], bool]:
    """What happened to a job, the newest first, and whether there is more.

    Raises:
        ServiceError: [jobs/not-found], 404; [jobs/bad-cursor], 400.
    """
    query = select(JOB_EVENTS).where(JOB_EVENTS.c.job == job_id)
    with reading(service.registry.engine) as connection:
        queue.row_of(connection, project, job_id)
        if after is not None:
            last = select(JOB_EVENTS.c.place).where(JOB_EVENTS.c.id == after, JOB_EVENTS.c.job == job_id)
            query = query.where(JOB_EVENTS.c.place < _place(connection, last))
        rows = connection.execute(query.order_by(JOB_EVENTS.c.place.desc()).limit(limit + 1)).mappings().all()
    names = ("id", "job", "created", "level", "message", "type")
    found = [Event(**{name: row[name] for name in names}, data=json.loads(row["data"])) for row in rows[:limit]]
    return found, len(rows) > limit


def list_checkpoints(
    service: Service, project: str, job_id: str, *, after: str | None = None, limit: int = 10
) -> tuple[list[JobCheckpoint], bool]:
    """States of a job that are kept, the newest first, and whether there are more; none of one that came to nothing.

    Raises:
        ServiceError: [jobs/not-found], 404; [jobs/bad-cursor], 400.
    """
    query = select(JOB_CHECKPOINTS).where(JOB_CHECKPOINTS.c.job == job_id)
    with reading(service.registry.engine) as connection:
        if queue.row_of(connection, project, job_id)["status"] in (queue.FAILED, queue.CANCELLED):
            return [], False
        if after is not None:
            mine = JOB_CHECKPOINTS.c.id == after, JOB_CHECKPOINTS.c.job == job_id
            query = query.where(
                JOB_CHECKPOINTS.c.step < _place(connection, select(JOB_CHECKPOINTS.c.step).where(*mine))
            )
        rows = connection.execute(query.order_by(JOB_CHECKPOINTS.c.step.desc()).limit(limit + 1)).mappings().all()
    names = ("id", "job", "created", "step", "model")
    found = [
        JobCheckpoint(**{name: row[name] for name in names}, metrics=json.loads(row["metrics"])) for row in rows[:limit]
    ]
    return found, len(rows) > limit


def model_name(base: str, project: str, suffix: str | None, job_id: str) -> str:
    """Name of a tuned model. It is known as a whole and never taken apart.

    >>> model_name("tiny", "default", "tickets", "ftjob-Xq3abcdefgh")
    'ft:tiny:local:tickets:Xq3abcde'
    """
    project = LOCAL if project == DEFAULT_PROJECT else project
    return f"ft:{base}:{project}:{suffix or ''}:{job_id.partition('-')[2][:8]}"


def _usable_file(service: Service, project: str, asked: JobRequest, param: str) -> StoredFile:
    """A file that the request names, whose first rows can be learned from."""
    file_id = str(getattr(asked, param))
    try:
        file = find_file(service.registry, project, file_id, param=param)
    except ServiceError as error:
        message = f"The {param.replace('_', ' ')} '{file_id[:80]}' does not exist or you do not have access to it."
        raise refused(param, message, "invalid_file") from error
    if file.purpose != PURPOSE:
        message = f"The file '{file.id}' has the purpose '{file.purpose}', but '{PURPOSE}' is needed."
        raise refused(param, message, "invalid_file_purpose")
    tree = recipe_tree(asked, rows=None, seed=0, filename=file.filename)
    seen = check_file(file_path(service.registry, file), tree, rows=FIRST_ROWS)
    allowed = tree["data"]["max_bad_ratio"] or 0.0
    minimum = service.minimum_rows if param == "training_file" else 1
    wrong = seen.message(param, minimum=minimum, allowed=allowed)
    if wrong is not None:
        raise refused(param, wrong, f"invalid_{param}")
    return file


def _require_still_there(connection: Connection, service: Service, project: str, asked: JobRequest, known: str) -> None:
    """What was deleted while the request was checked is missed now; from here on the job protects it."""
    named = {"training_file": asked.training_file, "validation_file": asked.validation_file}
    try:
        require_files(connection, project, {param: file_id for param, file_id in named.items() if file_id is not None})
        if not is_base(service, known):
            require_served(connection, known, project)
    except ServiceError as error:
        raise refused(
            str(error.param), error.message, "model_not_found" if error.param == "model" else "invalid_file"
        ) from error


def _root(service: Service, known: str, asked: str) -> str:
    """The base that the name of the tuned model begins with: of one that goes on from a tuned one, where that began."""
    made_by = select(JOBS.c.chosen).join(SERVED, SERVED.c.job == JOBS.c.id).where(SERVED.c.name == known)
    with reading(service.registry.engine) as connection:
        found = connection.scalar(made_by)
    return asked if found is None else str(json.loads(found)["root"])


def _earlier(service: Service, project: str, asked: JobRequest) -> Job | None:
    """The job that the same request made before, by its idempotency key.

    Raises:
        ServiceError: [jobs/same-key-other-request], 409.
    """
    if asked.idempotency_key is None:
        return None
    mine = JOBS.c.project == project, JOBS.c.idempotency_key == asked.idempotency_key
    with reading(service.registry.engine) as connection:
        rows = connection.execute(select(JOBS).where(*mine)).mappings().all()
        found = _jobs(connection, rows)
    if found and json.loads(rows[0]["asked"]) != json.loads(json.dumps(asked.as_dict())):
        raise ServiceError(
            "jobs/same-key-other-request",
            "This idempotency key was used for another request.",
            status=409,
            param="Idempotency-Key",
            kind="idempotency_key_reused",
        )
    return found[0] if found else None


def _require_room(connection: Connection, project: str) -> None:
    live = select(func.count()).where(JOBS.c.project == project, JOBS.c.status.in_(queue.LIVE))
    if (connection.scalar(live) or 0) >= MOST_LIVE:
        raise ServiceError(
            "jobs/too-many",
            f"This project has {MOST_LIVE:,} jobs that are not finished; wait for some of them, or cancel some.",
            status=429,
            kind="rate_limit_exceeded",
            retry_after_seconds=60.0,
        )


def _require_status(row: RowMapping, what: str, *allowed: str) -> None:
    if row["status"] not in allowed:
        raise ServiceError(
            "jobs/wrong-state",
            f"The job {row['id']} is {row['status']}; to {what} it, it must be {' or '.join(allowed)}.",
            status=409,
            param=PARAM,
            kind="invalid_job_state",
        )


def _place(connection: Connection, query: Select[Any]) -> int:
    """Where the page before ended."""
    found = connection.scalar(query)
    if found is None:
        raise ServiceError(
            "jobs/bad-cursor", "There is no such object to list after.", status=400, param="after", kind="invalid_value"
        )
    return int(found)


def _jobs(connection: Connection, rows: list[RowMapping] | Any) -> list[Job]:
    """Rows with their metadata."""
    pairs: dict[str, dict[str, str]] = {}
    found = connection.execute(select(JOB_METADATA).where(JOB_METADATA.c.job.in_([row["id"] for row in rows])))
    for pair in found.mappings():
        pairs.setdefault(pair["job"], {})[pair["key"]] = pair["value"]
    return [_job(row, pairs.get(row["id"], {})) for row in rows]


def _job(row: RowMapping, metadata: Mapping[str, str]) -> Job:
    same: tuple[str, ...] = (
        "id",
        "project",
        "status",
        "seed",
        "training_file",
        "validation_file",
        "result_file",
        "model",
        "created",
    )
    same = (*same, "started", "finished", "trained_tokens", "priority", "slot")
    return Job(
        **{name: row[name] for name in same},
        asked=JobRequest(**json.loads(row["asked"])),
        chosen=json.loads(row["chosen"]),
        metadata=metadata,
        error=json.loads(row["error"]) if row["error"] else None,
        attempt=row["token"],
    )
