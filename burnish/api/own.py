"""/v1/burnish: what the protocol has no words for: verdicts, reports, live events, lineage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from burnish.api.fine_tuning import event_object
from burnish.api.routing import READ, At, By, allow, router
from burnish.errors import ServiceError
from burnish.lifecycle.jobs import Event, Job, find_job, list_events
from burnish.lifecycle.service import Service
from burnish.registry.queue import CANCELLED, FAILED, SUCCEEDED
from burnish.registry.served import find_served
from burnish.storage.run_folder import RunFolder

ROUTER = router()
JOBS = "/v1/burnish/jobs"
LOOK_SECONDS = 0.5  # between two looks at a job's events
PING_SECONDS = 15.0  # of silence, after which a comment keeps the connection
PAGE = 100
ENDED = (SUCCEEDED, FAILED, CANCELLED)
REPORT_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"}


@ROUTER.get(f"{JOBS}/{{job_id}}/verdict")
@allow(READ)
def verdict(job_id: str, caller: By, service: At) -> dict[str, Any]:
    """What the tuned model is worth, against its base and against doing without fine-tuning."""
    job = find_job(service, caller.project, job_id)
    folder = _judged(service, job)
    evaluation = folder.content(folder.evaluation)
    known = ("verdict", "goals", "gates")
    return {"job": job.id, "model": job.model, **{name: evaluation[name] for name in known if name in evaluation}}


@ROUTER.get(f"{JOBS}/{{job_id}}/report", response_class=Response)
@allow(READ)
def report(job_id: str, caller: By, service: At) -> Response:
    """The report as a page of its own; browsers save it and do not run it here."""
    path = _judged(service, find_job(service, caller.project, job_id)).report
    if not path.is_file():
        raise _not_yet("this job has no report")
    headers = {**REPORT_HEADERS, "content-disposition": f'attachment; filename="{job_id}.html"'}
    return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)


@ROUTER.get(f"{JOBS}/{{job_id}}/events", response_class=Response)
@allow(READ, seconds=None)
async def live_events(
    job_id: str,
    request: Request,
    caller: By,
    service: At,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> Response:
    """Server-sent events: all that happened since `Last-Event-ID`, then what happens, until the job has ended."""
    await run_in_threadpool(find_job, service, caller.project, job_id)
    stream = _stream(request, service, caller.project, job_id, last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


@ROUTER.get("/v1/burnish/models/{model:path}/lineage")
@allow(READ)
def lineage(model: str, caller: By, service: At) -> dict[str, Any]:
    """What a tuned model came from: its run, its data, its base, each with its id."""
    served = find_served(service.registry, model, caller.project)
    version = service.registry.get(served.version)
    came = [
        {"generation": generation, "role": role, "kind": each.kind, "name": each.name, "version": each.id}
        for generation, role, each in service.registry.lineage(version)
    ]
    return {"model": model, "version": version.id, "job": served.job, "task": served.task, "lineage": came}


def _judged(service: Service, job: Job) -> RunFolder:
    """The stored run of a job that has ended well.

    Raises:
        ServiceError: [jobs/not-judged] (404).
    """
    if job.model is None:
        raise _not_yet(f"the job is {job.status} and was not judged")
    served = find_served(service.registry, job.model, job.project)
    folder = RunFolder(service.registry.folder(service.registry.get(served.version)))
    if not folder.evaluation.is_file():
        raise _not_yet("this job was not judged")
    return folder


def _not_yet(message: str) -> ServiceError:
    return ServiceError("jobs/not-judged", message, status=404, param="job_id", kind="not_found")


async def _stream(
    request: Request, service: Service, project: str, job_id: str, seen: str | None
) -> AsyncIterator[bytes]:
    rules = request.app.state.rules
    silent = 0.0
    yield b": events\n\n"
    while not rules.draining:
        job = await run_in_threadpool(
            find_job, service, project, job_id
        )  # before its events: the last one is not missed
        news = await run_in_threadpool(_newer, service, project, job_id, seen)
        for event in news:
            seen = event.id
            data = json.dumps(event_object(event), ensure_ascii=False)
            yield f"id: {event.id}\nevent: fine_tuning.job.event\ndata: {data}\n\n".encode()
        if job.status in ENDED:
            yield b"event: done\ndata: [DONE]\n\n"
            return
        silent = 0.0 if news else silent + LOOK_SECONDS
        if silent >= PING_SECONDS:
            silent = 0.0
            yield b": ping\n\n"
        await asyncio.sleep(LOOK_SECONDS)


def _newer(service: Service, project: str, job_id: str, seen: str | None) -> list[Event]:
    """Events after one, oldest first; all of them when it is not known."""
    found: list[Event] = []
    after, more = None, True
    while more:
        events, more = list_events(service, project, job_id, after=after, limit=PAGE)
        for event in events:
            if event.id == seen:
                return found[::-1]
            found.append(event)
        after = events[-1].id if events else None
    return found[::-1]
