"""/v1/fine_tuning/jobs: translates the protocol to `lifecycle.jobs`, and its jobs to the protocol's objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Header, Query
from pydantic import Field, StringConstraints
from starlette.requests import Request

from burnish.api.files import page
from burnish.api.routing import READ, WRITE, At, By, allow, router
from burnish.errors import ServiceError
from burnish.lifecycle.job_recipe import DPO, SUPERVISED, JobRequest
from burnish.lifecycle.jobs import (
    DEFAULT_PROJECT,
    LOCAL,
    Event,
    Job,
    JobCheckpoint,
    cancel_job,
    create_job,
    find_job,
    list_checkpoints,
    list_events,
    list_jobs,
    pause_job,
    resume_job,
)
from burnish.settings import Options

ROUTER = router()
JOBS = "/v1/fine_tuning/jobs"
AUTO = "auto"
NAMES = ("n_epochs", "batch_size", "learning_rate_multiplier")  # hyperparameters that every job has
TOLD = ("base", "task", "learning_rate", "verdict")  # of what was chosen, for the block of a job
Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
After = Annotated[str | None, Query(max_length=64)]
_PAIR = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)


class Method(Options):
    """How a job learns: the type, and a block of the same name."""

    type: Annotated[str, StringConstraints(max_length=32)] = SUPERVISED
    supervised: dict[str, Any] | None = None
    dpo: dict[str, Any] | None = None
    reinforcement: dict[str, Any] | None = None


class NewJob(Options):
    """A request for a job."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    training_file: Id
    validation_file: Id | None = None
    method: Method | None = None
    hyperparameters: dict[str, Any] | None = None
    suffix: Annotated[str, StringConstraints(max_length=256)] | None = None
    seed: int | None = None
    metadata: dict[str, str] | None = None
    integrations: Annotated[list[dict[str, Any]], Field(max_length=5)] | None = None
    burnish: dict[str, Any] | None = None


@ROUTER.post(JOBS)
@allow(WRITE)
def create(
    asked: NewJob,
    request: Request,
    caller: By,
    service: At,
    idempotency_key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=256)] = None,
) -> dict[str, Any]:
    method = asked.method or Method()
    made = create_job(
        service,
        caller.project,
        caller.key_id,
        JobRequest(
            model=asked.model,
            training_file=asked.training_file,
            validation_file=asked.validation_file,
            method=method.type,
            hyperparameters=_hyperparameters(asked, method),
            suffix=asked.suffix,
            seed=asked.seed,
            metadata=asked.metadata or {},
            integrations=asked.integrations or (),
            burnish=asked.burnish or {},
            idempotency_key=idempotency_key,
        ),
    )
    request.state.object = made.id
    return job_object(made)


@ROUTER.get(JOBS)
@allow(READ)
def list_(
    request: Request,
    caller: By,
    service: At,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> dict[str, Any]:
    wanted = _wanted_metadata(request)
    found, more = list_jobs(service, caller.project, after=after, limit=limit, metadata=wanted)
    return page([job_object(each) for each in found], more)


@ROUTER.get(f"{JOBS}/{{job_id}}")
@allow(READ)
def retrieve(job_id: str, caller: By, service: At) -> dict[str, Any]:
    return job_object(find_job(service, caller.project, job_id))


@ROUTER.post(f"{JOBS}/{{job_id}}/pause")
@allow(WRITE)
def pause(job_id: str, caller: By, service: At) -> dict[str, Any]:
    return job_object(pause_job(service, caller.project, job_id))


@ROUTER.post(f"{JOBS}/{{job_id}}/resume")
@allow(WRITE)
def resume(job_id: str, caller: By, service: At) -> dict[str, Any]:
    return job_object(resume_job(service, caller.project, job_id))


@ROUTER.post(f"{JOBS}/{{job_id}}/cancel")
@allow(WRITE)
def cancel(job_id: str, caller: By, service: At) -> dict[str, Any]:
    return job_object(cancel_job(service, caller.project, job_id))


@ROUTER.get(f"{JOBS}/{{job_id}}/events")
@allow(READ)
def events(
    job_id: str,
    caller: By,
    service: At,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> dict[str, Any]:
    found, more = list_events(service, caller.project, job_id, after=after, limit=limit)
    return page([event_object(each) for each in found], more)


@ROUTER.get(f"{JOBS}/{{job_id}}/checkpoints")
@allow(READ)
def checkpoints(
    job_id: str,
    caller: By,
    service: At,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
) -> dict[str, Any]:
    found, more = list_checkpoints(service, caller.project, job_id, after=after, limit=limit)
    return page([_checkpoint_object(each) for each in found], more)


def job_object(job: Job) -> dict[str, Any]:
    """The protocol's object of a job; what "auto" became is in it as soon as it is known."""
    asked = job.asked
    names = (*NAMES, *(("beta",) if asked.method == DPO else ()))
    values = {name: job.chosen.get(name, asked.hyperparameters.get(name, AUTO)) for name in names}
    values.update({name: value for name, value in asked.hyperparameters.items() if name not in names})
    told = {name: job.chosen[name] for name in TOLD if job.chosen.get(name) is not None}
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created),
        "finished_at": _seconds(job.finished),
        "estimated_finish": None,
        "model": asked.model,
        "fine_tuned_model": job.model,
        "organization_id": organization(job.project),
        "status": job.status,
        "hyperparameters": values if asked.method == SUPERVISED else {},
        "method": {"type": asked.method, asked.method: {"hyperparameters": values}},
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "result_files": [job.result_file] if job.result_file else [],
        "trained_tokens": job.trained_tokens,
        "error": dict(job.error) if job.error and job.status == "failed" else None,
        "seed": job.seed,
        "metadata": dict(job.metadata),
        "integrations": [],
        "burnish": {**asked.burnish, **told, "started_at": _seconds(job.started), "attempt": job.attempt},
    }


def event_object(event: Event) -> dict[str, Any]:
    """The protocol's object of an event."""
    return {
        "id": event.id,
        "object": "fine_tuning.job.event",
        "created_at": int(event.created),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": dict(event.data),
    }


def organization(project: str) -> str:
    """What the protocol calls a project."""
    return f"org-{LOCAL if project == DEFAULT_PROJECT else project}"


def _checkpoint_object(checkpoint: JobCheckpoint) -> dict[str, Any]:
    return {
        "id": checkpoint.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(checkpoint.created),
        "fine_tuned_model_checkpoint": checkpoint.model,
        "fine_tuning_job_id": checkpoint.job,
        "step_number": checkpoint.step,
        "metrics": dict(checkpoint.metrics),
    }


def _seconds(when: float | None) -> int | None:
    return None if when is None else int(when)


def _hyperparameters(asked: NewJob, method: Method) -> dict[str, Any]:
    """Those of the method; old scripts give them beside it.

    Raises:
        ServiceError: [jobs/bad-request] (400).
    """
    old = asked.hyperparameters or {}
    block = getattr(method, method.type, None) if method.type in Method.model_fields else None
    others = [name for name in ("supervised", "dpo", "reinforcement") if name != method.type]
    for name in others:
        if getattr(method, name) is not None:
            raise _refused(f"method.{name}", f'the method is "{method.type}", so there can be no block "{name}"')
    for name in (block or {}) if method.type != "reinforcement" else ():
        if name != "hyperparameters":
            raise _refused(f"method.{method.type}.{name[:64]}", "unknown key; the block has only hyperparameters")
    given = (block or {}).get("hyperparameters") or {}
    if not isinstance(given, dict):
        raise _refused(f"method.{method.type}.hyperparameters", "must be an object")
    for name in old.keys() & given.keys():
        if old[name] != given[name]:
            raise _refused(f"hyperparameters.{name[:64]}", "differs from what the method says; give it once")
    return {**old, **given}


def _refused(param: str, message: str) -> ServiceError:
    return ServiceError("jobs/bad-request", f"{param}: {message}", status=400, param=param, kind="invalid_value")


def _wanted_metadata(request: Request) -> Mapping[str, str] | None:
    """The pairs of `metadata[key]=value`; {} for `metadata=null`: jobs that have none."""
    pairs: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if match := _PAIR.fullmatch(name):
            pairs[match.group(1)] = value
        elif name == "metadata" and value == "null":
            return {}
    return pairs or None
