"""A service with a tiny base and small files of rows, and workers as processes of their own, for tests and torture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from burnish.lifecycle.environment import describe_environment
from burnish.lifecycle.job_recipe import JobRequest
from burnish.lifecycle.jobs import Job, create_job, list_events
from burnish.lifecycle.service import Service
from burnish.registry.database import open_database, reading
from burnish.registry.files import store_file
from burnish.registry.queue import LIVE
from burnish.registry.served import find_served
from burnish.registry.service_tables import JOBS
from burnish.registry.store import Registry, SentFiles
from burnish.storage.version_store import open_version_store

PROJECT = "default"
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PATIENCE_SECONDS = 600.0
CLOCK = ("rows_per_second", "tokens_per_second")
INTERRUPTED = ("The job goes on from step", "The job pauses", "The job is paused", "The job is in the line again")
QUICK = {  # two steps, and a verdict that takes no time
    "training": {"max_steps": 2},
    "evaluation": {"resamples": 100, "max_prompts": 8, "robustness_rows": 0},
}


def chat_rows(count: int = 20) -> str:
    """Conversations as a file of the protocol."""
    rows = [
        [{"role": "user", "content": f"{n} plus {n}"}, {"role": "assistant", "content": str(2 * n)}]
        for n in range(count)
    ]
    return "".join(json.dumps({"messages": messages}) + "\n" for messages in rows)


def service_at(home: Path, base: Path, url: str | None = None) -> Service:
    """A service on a home of its own, which serves one base as "tiny"."""
    store, files = open_version_store(home, None), open_version_store(home / "service", None, folder="files")
    registry = Registry(open_database(home, url), store, SentFiles(files, home / "service" / "incoming"))
    (home / "service").mkdir(parents=True, exist_ok=True)
    return Service(registry, home, {"gpt-4o-mini": "tiny"}, {"tiny": base})


def sent(service: Service, text: str, name: str = "train.jsonl") -> str:
    """The id of a file that was uploaded."""
    chunks = [text.encode()]
    return store_file(service.registry, PROJECT, filename=name, purpose="fine-tune", chunks=chunks).id


def asked_for(service: Service, file_id: str, **changes: Any) -> Job:
    """A job of two steps, unless the changes say otherwise."""
    about: dict[str, Any] = {"model": "tiny", "training_file": file_id, "seed": 7, "burnish": QUICK}
    about |= {"hyperparameters": {"batch_size": 8, "n_epochs": 2}}
    return create_job(service, PROJECT, None, JobRequest(**{**about, **changes}))


def started_worker(
    service: Service, log: Path, arguments: Sequence[str] = (), environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """`burnish worker` on a service, as a process of its own."""
    base = service.bases["tiny"]
    command = [sys.executable, "-m", "burnish", "worker", "--model", f"tiny={base}", "--threads", "1", *arguments]
    own = {**os.environ, "BURNISH_HOME": str(service.home), "OMP_NUM_THREADS": "1", **(environment or {})}
    if service.registry.engine.url.get_backend_name() != "sqlite":
        own["BURNISH_DATABASE_URL"] = service.registry.engine.url.render_as_string(hide_password=False)
    with log.open("ab") as stream:
        return subprocess.Popen(command, env=own, stdout=stream, stderr=stream)


def until(happened: Callable[[], Any], what: str, every: float = 0.05) -> Any:
    """What a condition gives as soon as it gives something."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        if found := happened():
            return found
        time.sleep(every)
    raise TimeoutError(what)


def live(service: Service) -> int:
    """How many jobs have not ended."""
    with reading(service.registry.engine) as connection:
        return len(connection.scalars(select(JOBS.c.id).where(JOBS.c.status.in_(LIVE))).all())


def messages(service: Service, job: str) -> list[str]:
    """What was told about a job, in the order it was told."""
    return [event.message for event in reversed(list_events(service, PROJECT, job, limit=10_000)[0])]


def weights(service: Service, job: Job) -> dict[str, str]:
    """sha256 of the weights of a job's model."""
    version = service.registry.get(find_served(service.registry, str(job.model), PROJECT).version)
    return {name: sha256 for name, sha256 in version.files.items() if name.endswith(".safetensors")}


def told_of(service: Service, job: Job) -> list[Any]:
    """Steps with their figures and the end, as they were told; without names and the clock, without interruptions.

    A checkpoint that the trainer replaced before its worker looked is not told, so which ones are told depends on time.
    """
    found = list_events(service, PROJECT, job.id, limit=10_000)[0]
    left_out = (*INTERRUPTED, "Checkpoint created")
    events = [event for event in reversed(found) if event.level == "info" and not event.message.startswith(left_out)]
    figures = [{name: value for name, value in event.data.items() if name not in CLOCK} for event in events]
    names = (job.id, str(job.model), job.training_file)
    return list(zip([_without(event.message, names) for event in events], figures, strict=True))


def _without(text: str, names: Sequence[str]) -> str:
    for name in names:
        text = text.replace(name, "")
    return text


def kept(name: str, figures: dict[str, Any], wrong: Sequence[str], *, seed: int) -> int:
    """Prints what was found and writes benchmarks/results/torture-<name>.json; the exit code: 0 if nothing is wrong."""
    result = {"environment": describe_environment(), "seed": seed, "figures": figures, "wrong": list(wrong)}
    print(json.dumps(result["figures"]) + "".join(f"\nWRONG: {each}" for each in wrong[:20]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"torture-{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong else 0


def differences(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    """The first places where two lists are not the same, and their lengths."""
    pairs = [(a, b) for a, b in zip(first, second, strict=False) if a != b]
    return pairs[:3] + ([] if len(first) == len(second) else [(len(first), len(second))])
