"""What processes that were killed left behind on this machine: found by locks that die with their owners, removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from burnish.errors import RunError
from burnish.lifecycle.attempt import job_folder
from burnish.lifecycle.service import Service
from burnish.registry import queue
from burnish.registry.database import reading
from burnish.registry.service_tables import JOBS
from burnish.storage.durable import make_folder, remove_folder
from burnish.storage.lock import exclusive, waited

TRAINERS = "trainers"
PATIENCE_SECONDS = 30.0
DONE = (queue.SUCCEEDED, queue.CANCELLED)  # the folder of a failed job explains the failure


@contextlib.contextmanager
def place_of_worker(service: Service, worker: str) -> Iterator[Path]:
    """A folder for a worker's trainer, which is there as long as the worker is; those of dead workers are removed."""
    parent = service.folder / TRAINERS
    folder = parent / worker
    with contextlib.ExitStack() as mine:
        make_folder(parent)
        with waited(parent, PATIENCE_SECONDS):  # nobody sees a folder that is not locked yet
            for other in [each for each in parent.iterdir() if each.is_dir()]:
                _remove_if_dead(service, other)
            make_folder(folder)
            mine.callback(remove_folder, folder)
            mine.enter_context(exclusive(folder))
        yield folder / "home"


def remove_ended_jobs(service: Service) -> None:
    """Removes the folders of jobs that ended while whoever should have removed them was killed."""
    folders = [each.name for each in (service.folder / "jobs").glob("ftjob-*")]
    if not folders:
        return
    ended = select(JOBS.c.id).where(JOBS.c.id.in_(folders), JOBS.c.status.in_(DONE), JOBS.c.worker.is_(None))
    with reading(service.registry.engine) as connection:
        for job in connection.scalars(ended).all():
            remove_folder(job_folder(service.folder, job))


def _remove_if_dead(service: Service, folder: Path) -> None:
    try:
        with exclusive(folder):
            queue.forget_worker(service.registry.engine, folder.name)
    except (RunError, FileNotFoundError):  # its worker lives, or has just removed it
        return
    remove_folder(folder)
