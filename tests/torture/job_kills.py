"""The trainer of one job killed at many moments: the job ends with the weights of one that nothing happened to.

    python tests/torture/job_kills.py --kills 20 --base FOLDER

Every step and the end must be told once, in order, and no checkpoint twice, whatever was killed when.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from service_jobs import (
    PROJECT,
    QUICK,
    asked_for,
    chat_rows,
    differences,
    kept,
    sent,
    service_at,
    told_of,
    weights,
)

from burnish.lifecycle.jobs import find_job, list_events
from burnish.lifecycle.work import WorkerOptions, work

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
        wrong += [] if weights(service, quiet) == weights(service, struck) else ["the weights differ"]
        said = [event.message for event in list_events(service, PROJECT, struck.id, limit=10_000)[0]]
        twice = {each for each in said if said.count(each) > 1 and each.startswith("Checkpoint")}
        wrong += [f"told twice: {each}" for each in sorted(twice)]
        wrong += [
            f"told is {mine}, not {his}" for his, mine in differences(told_of(service, quiet), told_of(service, struck))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--base", type=Path, required=True, help="folder of a small language model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="job-kills-") as folder:
        outcome = job_kills(Path(folder), options.base, kills=options.kills, seed=options.seed)
    wrong = outcome.pop("wrong")
    raise SystemExit(kept("job_kills", outcome, wrong, seed=options.seed))


if __name__ == "__main__":
    main()
