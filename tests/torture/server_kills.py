"""The server killed at many moments of a job's life and started again: every job ends as one that nothing happened to.

    python tests/torture/server_kills.py --base FOLDER [--kills 20] [--moments "step 7" "create"]

Either the server alone is killed, and its worker notices, or everything is, as when the power goes. Afterwards the job
must have ended right, with the weights, steps and figures of a job never disturbed, each told once and in order; files
must be whole, the log must verify, and nothing may be left of what was begun and not finished.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server_moments import ENDED, MOMENTS, ROWS, Lab
from server_process import Server
from service_jobs import CLOCK, INTERRUPTED, PROJECT, differences, kept, told_of, weights
from sqlalchemy import select, update

from burnish.lifecycle.job_sweep import sweep_jobs
from burnish.lifecycle.jobs import Job, find_job, list_checkpoints, list_events
from burnish.lifecycle.service import Service, open_service
from burnish.registry.database import reading, writing
from burnish.registry.files import file_path, find_file, sweep_files
from burnish.registry.log import ServiceLog
from burnish.registry.service_tables import FILES, JOBS
from burnish.registry.verify import damages
from burnish.storage.lock import LOCK


def server_kills(folder: Path, base: Path, moments: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """What was done, and what is wrong afterwards."""
    home = folder / "home"
    service = open_service(home=home, models=[f"tiny={base}"])
    lab = Lab(service, Server(home, base, folder / "stderr"), random.Random(seed))
    began = time.monotonic()
    lab.server.start()
    lab.file = lab.send()
    quiet = lab.create()
    lab.status(quiet, *ENDED)
    struck = {}
    for number, name in enumerate(moments):
        lab.everything = number % 2 == (number // len(MOMENTS) + seed) % 2  # a second round kills the other way
        label = f"{number + 1} {name}, {'everything' if lab.everything else 'the server'}"
        struck[label] = MOMENTS[name](lab)
        lab.status(struck[label], *ENDED)
        print(label, file=sys.stderr, flush=True)
    wrong = lab.wrong
    first = find_job(service, PROJECT, quiet)
    wrong += [] if first.status == "succeeded" else [f"the quiet job is {first.status}: {first.error}"]
    for label, each in struck.items():
        job = find_job(service, PROJECT, each)
        wanted = "cancelled" if " cancelled," in label else "succeeded"
        faults = _differs(lab, first, job) if job.status == wanted == "succeeded" else []
        faults += [] if job.status == wanted else [f"it is {job.status}: {job.error}"]
        wrong += [f"{label}: {fault}" for fault in [*faults, *_told_wrongly(lab, job)]]
    code = lab.server.stop()
    wrong += [] if code == 0 else [f"the server ended with {code}"]
    wrong += _left(lab)
    service.registry.engine.dispose()
    return {"kills": lab.kills, "seconds": round(time.monotonic() - began), "wrong": wrong}


def _differs(lab: Lab, quiet: Job, job: Job) -> list[str]:
    """What is not as in the job that nothing happened to."""
    service = lab.service
    found = [] if weights(service, quiet) == weights(service, job) else ["the weights differ"]
    told = differences(told_of(service, quiet), told_of(service, job))
    found += [f"told is {mine}, not {his}" for his, mine in told]
    found += [] if _table(service, quiet) == _table(service, job) else ["the results file differs"]
    same = ("n_epochs", "batch_size", "learning_rate", "verdict")
    found += [f"{name} differs" for name in same if quiet.chosen[name] != job.chosen[name]]
    found += [] if job.trained_tokens == quiet.trained_tokens else ["the count of tokens differs"]
    kept = [each.step for each in list_checkpoints(service, PROJECT, job.id)[0]]
    found += [] if kept and kept == sorted(set(kept), reverse=True) else [f"its checkpoints are {kept}"]
    return found


def _told_wrongly(lab: Lab, job: Job) -> list[str]:
    """Events that are told twice or not by HTTP, and steps out of order."""
    events = list_events(lab.service, PROJECT, job.id, limit=10_000)[0][::-1]
    path = f"/v1/fine_tuning/jobs/{job.id}/events?limit=100"
    shown = [each["id"] for each in lab.server.asked("GET", path)["data"]]
    found = [] if shown[::-1] == [event.id for event in events][-100:] else ["HTTP tells other events"]
    said = [event.message for event in events if not event.message.startswith(INTERRUPTED)]
    found += [f"told twice: {each}" for each in sorted({each for each in said if said.count(each) > 1})]
    steps = [event.data["step"] for event in events if event.type == "metrics"]
    found += [] if steps == list(range(1, len(steps) + 1)) else [f"its steps are {steps}"]
    found += [f"warned: {event.message}" for event in events if event.level == "warn"]
    return found


def _table(service: Service, job: Job) -> list[dict[str, str]]:
    """The file of figures, without the clock."""
    text = file_path(service.registry, find_file(service.registry, PROJECT, str(job.result_file))).read_text("utf-8")
    names, *lines = [line.split(",") for line in text.splitlines()]
    rows = [dict(zip(names, line, strict=True)) for line in lines]
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


def _left(lab: Lab) -> list[str]:
    """What is damaged, and what is still there of things that were not finished."""
    service = lab.service
    found = [f"the log: {each}" for each in ServiceLog(service.registry, service.folder).damages()]
    found += [f"damaged: {each}" for each in damages(service.registry)]
    with reading(service.registry.engine) as connection:
        files = connection.execute(select(FILES.c.id, FILES.c.project)).all()
    for file in files:
        stored = find_file(service.registry, file.project, file.id)
        if stored.purpose == "fine-tune" and file_path(service.registry, stored).read_bytes() != ROWS:
            found.append(f"the file {file.id} is another one")
    for path in (service.folder / "incoming").glob("*"):
        os.utime(path, (0.0, 0.0))  # as if it had been there for days
    sweep_files(service.registry)
    with writing(service.registry.engine) as connection:
        connection.execute(update(JOBS).values(finished=0.0))
    sweep_jobs(service)
    for name in ("incoming", "jobs", "trainers"):
        rest = sorted(each.name for each in (service.folder / name).glob("*") if each.name != LOCK)
        found += [f"left in {name}: {rest}"] if rest else []
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of a small language model")
    parser.add_argument("--kills", type=int, default=len(MOMENTS), help="one at each moment, then again")
    parser.add_argument("--moments", nargs="+", choices=tuple(MOMENTS), metavar="MOMENT", default=list(MOMENTS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = list(itertools.islice(itertools.cycle(options.moments), options.kills))
    with tempfile.TemporaryDirectory(prefix="server-kills-") as folder:
        outcome = server_kills(Path(folder), options.base, moments, seed=options.seed)
    wrong = outcome.pop("wrong")
    raise SystemExit(kept("server_kills", outcome, wrong, seed=options.seed))


if __name__ == "__main__":
    main()
