"""Moments of a job's life at which a server is killed and started again: each gives the job that lived through one."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from server_process import Server, form
from service_jobs import PROJECT, QUICK, chat_rows, until
from sqlalchemy import func, select, update

from burnish.lifecycle.jobs import find_job
from burnish.lifecycle.service import Service
from burnish.registry.database import reading, writing
from burnish.registry.service_tables import FILES, JOB_EVENTS, JOBS
from burnish.registry.tables import VERSIONS

STEPS = 40
BLOCK = {**QUICK, "training": {"max_steps": STEPS, "evaluate_every_steps": 10, "patience": 50}}
ROWS = chat_rows(40).encode()
ASKED = {
    "model": "tiny",
    "seed": 7,
    "hyperparameters": {"batch_size": 8, "n_epochs": 50, "learning_rate_multiplier": 1},
    "burnish": BLOCK,
}
ENDED = ("succeeded", "failed", "cancelled")


@dataclass
class Lab:
    """A server and what is done to it."""

    service: Service
    server: Server
    chance: random.Random
    file: str = ""
    everything: bool = False  # how the server is killed next
    kills: int = 0
    number: int = 0
    wrong: list[str] = field(default_factory=list)

    def strike(self) -> None:
        """Kills the server, and starts it again when the leases of whoever died with it have run out."""
        self.server.kill(everything=self.everything)
        self.kills += 1
        if self.everything:
            with writing(self.service.registry.engine) as connection:
                held = JOBS.c.worker.is_not(None)
                connection.execute(update(JOBS).where(held).values(lease_until=1.0))
        self.server.start()

    def send(self) -> str:
        body, headers = form("file", ROWS, purpose="fine-tune")
        return str(self.server.asked("POST", "/v1/files", body, **headers)["id"])

    def create(self, file: str | None = None) -> str:
        asked = {**ASKED, "training_file": file or self.file}
        return str(self.server.asked("POST", "/v1/fine_tuning/jobs", asked)["id"])

    def change(self, job: str, what: str) -> None:
        self.server.asked("POST", f"/v1/fine_tuning/jobs/{job}/{what}")

    def status(self, job: str, *wanted: str) -> None:
        """Waits for a status."""
        until(lambda: find_job(self.service, PROJECT, job).status in wanted, f"{job}: {wanted}", every=0.01)

    def told(self, job: str, once: str) -> None:
        """Waits for an event."""
        query = select(JOB_EVENTS.c.id).where(JOB_EVENTS.c.job == job, JOB_EVENTS.c.once == once)
        until(lambda: self.count(query), f"{job}: {once}", every=0.01)

    def count(self, query: Any) -> int:
        with reading(self.service.registry.engine) as connection:
            return int(connection.scalar(select(func.count()).select_from(query.subquery())) or 0)


def _upload(lab: Lab) -> str:
    body, headers = form("file", ROWS, purpose="fine-tune")
    before = lab.count(select(FILES.c.id))
    connection = lab.server.connection()
    connection.putrequest("POST", "/v1/files")
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        connection.putheader(name, value)
    connection.endheaders(body[: len(body) // 2])
    incoming = lab.service.folder / "incoming"
    until(lambda: list(incoming.glob("*")), "the upload has begun", every=0.01)
    lab.strike()
    connection.close()
    if lab.count(select(FILES.c.id)) != before:
        lab.wrong.append("half a file became one")
    return lab.create(lab.send())


def _uploaded(lab: Lab) -> str:
    file = lab.send()
    lab.strike()
    return lab.create(file)


def _parts(lab: Lab) -> str:
    about = {"bytes": len(ROWS), "filename": "rows.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    upload = lab.server.asked("POST", "/v1/uploads", about)["id"]
    middle, parts = len(ROWS) // 2, []
    for piece in (ROWS[:middle], ROWS[middle:]):
        body, headers = form("data", piece)
        parts.append(lab.server.asked("POST", f"/v1/uploads/{upload}/parts", body, **headers)["id"])
        if len(parts) == 1:
            lab.strike()
    whole = lab.server.asked("POST", f"/v1/uploads/{upload}/complete", {"part_ids": parts})
    return lab.create(whole["file"]["id"])


def _create(lab: Lab) -> str:
    """Nobody hears the answer; the same request again is the same job."""
    key = f"once {lab.kills}"
    asked = {**ASKED, "training_file": lab.file}
    connection = lab.server.connection()
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    connection.request("POST", "/v1/fine_tuning/jobs", json.dumps(asked).encode(), headers)
    time.sleep(lab.chance.uniform(0.0, 0.1))
    lab.strike()
    connection.close()
    job = lab.server.asked("POST", "/v1/fine_tuning/jobs", asked, **{"Idempotency-Key": key})["id"]
    if lab.count(select(JOBS.c.id).where(JOBS.c.idempotency_key == key)) != 1:
        lab.wrong.append("one request became two jobs")
    return str(job)


def _created(lab: Lab) -> str:
    job = lab.create()
    lab.strike()
    return job


def _validating(lab: Lab) -> str:
    job = lab.create()
    held = select(JOBS.c.id).where(JOBS.c.id == job, JOBS.c.worker.is_not(None))
    until(lambda: lab.count(held), "a worker has the job", every=0.01)
    lab.strike()
    return job


def _when_told(once: str, *, at_most_seconds: float = 0.0) -> Callable[[Lab], str]:
    def moment(lab: Lab) -> str:
        job = lab.create()
        lab.told(job, once)
        time.sleep(lab.chance.uniform(0.0, at_most_seconds))
        lab.strike()
        return job

    return moment


def _storing(lab: Lab) -> str:
    """The model is stored, and the job has not ended yet."""
    versions = select(VERSIONS.c.id)
    before = lab.count(versions)
    job = lab.create()
    until(lambda: lab.count(versions) > before, "a version is stored", every=0.01)
    lab.strike()
    return job


def _succeeded(lab: Lab) -> str:
    job = lab.create()
    lab.status(job, "succeeded")
    lab.strike()
    return job


def _pausing(lab: Lab) -> str:
    job = lab.create()
    lab.told(job, "step 5")
    lab.change(job, "pause")
    lab.strike()
    lab.status(job, "paused")
    lab.change(job, "resume")
    return job


def _paused(lab: Lab) -> str:
    job = lab.create()
    lab.told(job, "step 5")
    lab.change(job, "pause")
    lab.status(job, "paused")
    lab.strike()
    lab.change(job, "resume")
    return job


def _resumed(lab: Lab) -> str:
    job = lab.create()
    lab.told(job, "step 5")
    lab.change(job, "pause")
    lab.status(job, "paused")
    lab.change(job, "resume")
    lab.strike()
    return job


def _cancelled(lab: Lab) -> str:
    job = lab.create()
    lab.told(job, "step 5")
    lab.change(job, "cancel")
    lab.strike()
    return job


MOMENTS: dict[str, Callable[[Lab], str]] = {
    "upload": _upload,
    "uploaded": _uploaded,
    "parts": _parts,
    "create": _create,
    "created": _created,
    "validating": _validating,
    "queued": _when_told("validated"),
    "running": _when_told("started"),
    "loading": _when_told("started", at_most_seconds=1.0),
    "step 1": _when_told("step 1"),
    "step 7": _when_told("step 7"),
    "checkpoint": _when_told("step 10", at_most_seconds=0.1),
    "step 23": _when_told("step 23"),
    "verdict": _when_told(f"step {STEPS}", at_most_seconds=1.0),
    "storing": _storing,
    "succeeded": _succeeded,
    "pausing": _pausing,
    "paused": _paused,
    "resumed": _resumed,
    "cancelled": _cancelled,
}
