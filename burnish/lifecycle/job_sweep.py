"""Folders of jobs that nobody cleared away: their worker died, or was not there when they ended."""

from __future__ import annotations

import time

from sqlalchemy import RowMapping, select

from burnish.lifecycle.service import Service
from burnish.registry import queue
from burnish.registry.database import reading
from burnish.registry.service_tables import JOBS
from burnish.storage.durable import remove_folder

SWEEP_SECONDS = 60.0  # between two sweeps
LATE_SECONDS = 120.0  # after the end of a job that did not succeed, in which its worker may still be stopping
MOST_AT_ONCE = 500  # ids in one question to the database


def sweep_jobs(service: Service) -> list[str]:
    """Removes what ended jobs left on this machine; gives the ids of those that had left something.

    Of a failed job what explains the failure stays: the run folders without their checkpoints. A folder that no job is
    known for stays too.
    """
    place = service.folder / "jobs"
    names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    swept = []
    for start in range(0, len(names), MOST_AT_ONCE):
        query = select(JOBS).where(JOBS.c.id.in_(names[start : start + MOST_AT_ONCE]))
        late = JOBS.c.finished < time.time() - LATE_SECONDS
        ended = query.where(JOBS.c.status.not_in(queue.LIVE), late | (JOBS.c.status == queue.SUCCEEDED))
        with reading(service.registry.engine) as connection:
            rows = connection.execute(ended).mappings().all()
        swept += [row["id"] for row in rows if _clear(service, row)]
    return swept


def _clear(service: Service, row: RowMapping) -> bool:
    folder = service.folder / "jobs" / row["id"]
    rest = [folder]
    if row["status"] == queue.FAILED:
        rest = [folder / "data", folder / "published", *folder.glob(f"{row['id']}-*/checkpoints")]
    rest = [path for path in rest if path.exists()]
    for path in rest:
        remove_folder(path)
    return bool(rest)
