"""The trainer of one job killed at many moments: the job ends with the weights of one that nothing happened to.

    python tests/torture/job_kills.py --kills 20 --base FOLDER

Every step and the end must be told once, in order, and no checkpoint twice, whatever was killed when.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from service_jobs import PROJECT, QUICK, asked_for, chat_rows, sent, service_at

from burnish.lifecycle.jobs import Job, find_job, list_events
from burnish.lifecycle.service import Service
from burnish.lifecycle.work import WorkerOptions, work
from burnish.registry.served import find_served

STEPS = 120
BLOCK = {**QUICK, "training": {"max_steps": STEPS, "evaluate_every_steps": 10, "patience": 50}}


def job_kills(folder: Path, base: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """What was done, and what is wrong with the job afterwards."""
    service = service_at(folder / "home", base)
    file_id = sent(service, chat_rows(40))
    options = WorkerOptions(once=True, retries=1_000, backoff_seconds=0.01)
    done = []
    for blows in (0, kills):
        about = {"batch_size": 8, "n_epochs": 50}
        job = asked_for(service, file_id, burnish=BLOCK, hyperparameters=about)
        ended = threading.Event()
        killed: list[float] = []
        striker = threading.Thread(target=_strike, args=(random.Random(seed), blows, ended, killed))
        striker.start()
        work(service, options, say=lambda text: None)
        ended.set()
        striker.join()
        done.append(find_job(service, PROJECT, job.id))
    quiet, struck = done
    wrong = [f"{job.id} is {job.status}: {job.error}" for job in done if job.status != "succeeded"]
    if not wrong:
        wrong += [] if _weights(service, quiet) == _weights(service, struck) else ["the weights differ"]
        said = [event.message for event in list_events(service, PROJECT, struck.id, limit=10_000)[0]]
        twice = {each for each in said if said.count(each) > 1 and each.startswith("Checkpoint")}
        wrong += [f"told twice: {each}" for each in sorted(twice)]
        wrong += [
            f"told is {mine}, not {his}" for his, mine in _differences(_told(service, quiet), _told(service, struck))
        ]
    service.registry.engine.dispose()
    return {"kills": len(killed), "attempts": struck.attempt, "steps": STEPS, "wrong": wrong}


def _strike(chance: random.Random, blows: int, ended: threading.Event, killed: list[float]) -> None:
    """Kills the trainer again and again, at moments of its start, its training and its verdict."""
    while len(killed) < blows and not ended.wait(chance.uniform(0.1, 9.0)):
        for child in psutil.Process().children():
            if child.is_running():
                child.send_signal(signal.SIGKILL)
                killed.append(time.monotonic())


def _weights(service: Service, job: Job) -> dict[str, str]:
    version = service.registry.get(find_served(service.registry, str(job.model), PROJECT).version)
    return {name: sha256 for name, sha256 in version.files.items() if name.endswith(".safetensors")}


def _differences(first: list[Any], second: list[Any]) -> list[Any]:
    """The first places where two lists are not the same, and their lengths."""
    pairs = [(a, b) for a, b in zip(first, second, strict=False) if a != b]
    return pairs[:3] + ([] if len(first) == len(second) else [(len(first), len(second))])


def _told(service: Service, job: Job) -> list[Any]:
    """Steps with their figures and the end, as they were told; without the clock, and without retries.

    A checkpoint that the trainer replaced before its worker looked is not told, so which ones are told depends on time.
    """
    found = list_events(service, PROJECT, job.id, limit=10_000)[0]
    clock = ("rows_per_second", "tokens_per_second")
    left_out = ("The job goes on from step", "Checkpoint created")
    events = [event for event in reversed(found) if event.level == "info" and not event.message.startswith(left_out)]
    figures = [{name: value for name, value in event.data.items() if name not in clock} for event in events]
    said = [event.message.replace(job.id, "").replace(str(job.model), "") for event in events]
    return list(zip(said, figures, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--base", type=Path, required=True, help="folder of a small language model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="job-kills-") as folder:
        outcome = job_kills(Path(folder), options.base, kills=options.kills, seed=options.seed)
    print(json.dumps(outcome))
    raise SystemExit(1 if outcome["wrong"] else 0)


if __name__ == "__main__":
    main()
