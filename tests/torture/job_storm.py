"""Workers killed and stopped at random while they run many jobs: each job ends once, and no two workers write one.

    python tests/torture/job_storm.py --workers 8 --jobs 500 [--database URL] [--base FOLDER]

Workers are killed (SIGKILL), or stopped for longer than their lease and let go on (SIGSTOP, SIGCONT), and so are their
trainers. Afterwards every job must have succeeded, with one end, one event for each thing that happened, one row for
each checkpoint, one served model, and each attempt's folder begun by one worker; what is stored must be whole.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from service_jobs import PROJECT, asked_for, chat_rows, kept, live, sent, service_at, started_worker
from sqlalchemy import select, text

from burnish.lifecycle.service import Service
from burnish.registry.database import reading
from burnish.registry.files import file_path, find_file
from burnish.registry.service_tables import JOB_CHECKPOINTS, JOB_EVENTS, JOBS, SERVED
from burnish.registry.verify import damages

LEASE = 3.0  # seconds
BEGUN = re.compile(r"^job (\S+) attempt (\d+): begun$", re.MULTILINE)
LOST_SECONDS = 3_600.0


@dataclass
class Storm:
    """What was done, and what was found afterwards."""

    jobs: int
    killed: int = 0
    stopped: int = 0
    trainers_killed: int = 0
    attempts: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "wrong"}


def storm(
    folder: Path,
    base: Path,
    *,
    workers: int,
    jobs: int,
    faults: int | None,
    seed: int,
    every: float = 0.5,
    url: str | None = None,
) -> Storm:
    """Runs the jobs under fire.

    Args:
        faults: blows in all, after which the workers are left in peace; None: until the last job has ended.
        every: seconds from blow to blow, about.
    """
    service = service_at(folder / "home", base, url)
    file_id = sent(service, chat_rows())
    for number in range(jobs):
        asked_for(service, file_id, seed=number)
    outcome, chance, started = Storm(jobs), random.Random(seed), time.monotonic()
    log = folder / "workers.log"
    arguments = ["--lease", str(LEASE), "--retries", "100000", "--backoff", "0.1"]
    running = [started_worker(service, log, arguments) for _ in range(workers)]
    asleep: list[tuple[float, int]] = []
    blows = 0
    try:
        while live(service) and time.monotonic() - started < LOST_SECONDS:
            time.sleep(every * (0.5 + chance.random()))
            _wake(asleep)
            running = [each if each.poll() is None else started_worker(service, log, arguments) for each in running]
            if (faults is None or blows < faults) and "attempt" in log.read_text(encoding="utf-8"):
                blows += 1
                _strike(chance, running, asleep, outcome)
    finally:
        _wake(asleep, all_of_them=True)
        for each in running:
            each.send_signal(signal.SIGTERM)
        codes = [each.wait(timeout=120) for each in running]
    outcome.seconds = round(time.monotonic() - started, 1)
    outcome.wrong += [f"a worker that was asked to end ended with {code}" for code in codes if code not in (0, -9)]
    _look(service, log, outcome)
    service.registry.engine.dispose()
    return outcome


def _strike(chance: random.Random, running: list[Any], asleep: list[tuple[float, int]], outcome: Storm) -> None:
    """One blow at one worker or its trainer."""
    worker = chance.choice(running)
    what = chance.random()
    try:
        if what < 0.4:
            worker.kill()
            worker.wait()
            outcome.killed += 1
        elif what < 0.7:
            worker.send_signal(signal.SIGSTOP)
            asleep.append((time.monotonic() + LEASE * (1 + chance.random()), worker.pid))
            outcome.stopped += 1
        else:
            for trainer in psutil.Process(worker.pid).children():
                trainer.kill()
                outcome.trainers_killed += 1
    except psutil.NoSuchProcess:
        pass


def _wake(asleep: list[tuple[float, int]], *, all_of_them: bool = False) -> None:
    """Lets workers go on that slept long enough."""
    for entry in list(asleep):
        if all_of_them or entry[0] < time.monotonic():
            asleep.remove(entry)
            if psutil.pid_exists(entry[1]):
                psutil.Process(entry[1]).send_signal(signal.SIGCONT)


def _look(service: Service, log: Path, outcome: Storm) -> None:
    """Notes everything that is not as it must be."""
    begun = Counter(BEGUN.findall(log.read_text(encoding="utf-8")))
    outcome.attempts = sum(begun.values())
    wrong = outcome.wrong
    wrong += [f"two workers began attempt {token} of {job}" for (job, token), count in begun.items() if count > 1]
    with reading(service.registry.engine) as connection:
        jobs = connection.execute(select(JOBS)).mappings().all()
        events = connection.execute(select(JOB_EVENTS)).mappings().all()
        checkpoints = connection.execute(select(JOB_CHECKPOINTS)).mappings().all()
        served = connection.execute(select(SERVED)).mappings().all()
        if service.registry.engine.url.get_backend_name() == "sqlite":
            whole = connection.execute(text("PRAGMA integrity_check")).scalar()
            wrong += [] if whole == "ok" else [f"the database: {whole}"]
    wrong += [f"{len(jobs)} jobs of {outcome.jobs}"] if len(jobs) != outcome.jobs else []
    told: dict[str, list[str]] = {}
    for event in sorted(events, key=lambda event: event["place"]):
        told.setdefault(event["job"], []).append(event["once"])
    for job in jobs:
        name = job["id"]
        if job["status"] != "succeeded" or job["worker"] is not None or job["token"] < 1:
            wrong.append(f"{name} is {job['status']}: {job['error']}")
            continue
        once = told[name]
        for what in ("created", "validated", "started", "step 1", "step 2", "checkpoint 2", "model", "end"):
            if once.count(what) != 1:
                wrong.append(f'{name}: "{what}" was told {once.count(what)} times')
        if once[-1] != "end":
            wrong.append(f"{name}: something was told after its end")
        mine = [row for row in checkpoints if row["job"] == name]
        if [row["step"] for row in mine] != [2]:
            wrong.append(f"{name}: checkpoints of the steps {[row['step'] for row in mine]}")
        names = {row["name"] for row in served if row["job"] == name}
        if names != {job["model"], f"{job['model']}:ckpt-step-2"}:
            wrong.append(f"{name}: served are {sorted(names)}")
        file_path(service.registry, find_file(service.registry, PROJECT, job["result_file"]))
    wrong += [str(damage) for damage in damages(service.registry)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--faults", type=int, help="blows in all; default: until the last job has ended")
    parser.add_argument("--every", type=float, default=5.0, help="seconds from blow to blow, about (5)")
    parser.add_argument("--database", help="URL; default: SQLite")
    parser.add_argument("--base", type=Path, required=True, help="folder of a small language model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="job-storm-") as folder:
        about = {"workers": options.workers, "jobs": options.jobs, "faults": options.faults, "seed": options.seed}
        about |= {"every": options.every}
        outcome = storm(Path(folder), options.base, **about, url=options.database)
    where = "sqlite" if options.database is None else "postgresql"
    figures = {"workers": options.workers, **outcome.figures()}
    raise SystemExit(kept(f"job_storm-{where}", figures, outcome.wrong, seed=options.seed))


if __name__ == "__main__":
    main()
