"""What a copy of the registry keeps of the service: keys, files, jobs that can go on, and the names of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, Select, Table, select

from burnish.errors import BurnishError, DamagedStoreError, ServiceError
from burnish.registry.database import reading
from burnish.registry.files import CONTENT, StoredFile, damage_of_file, find_file, place_of
from burnish.registry.queue import CANCELLED, FAILED, PAUSED, PAUSING, QUEUED, RUNNING, SUCCEEDED
from burnish.registry.service_tables import (
    FILES,
    JOB_CHECKPOINTS,
    JOB_EVENTS,
    JOB_METADATA,
    JOBS,
    KEYS,
    SERVED,
    USAGE,
)
from burnish.registry.store import Registry
from burnish.storage.version_store import LocalStore

COPIED = (KEYS, USAGE, FILES, JOBS, JOB_METADATA, JOB_EVENTS, JOB_CHECKPOINTS, SERVED)  # each after what it points at
_AT_REST = {RUNNING: QUEUED, PAUSING: PAUSED}  # what a job is in a copy, where nobody works on it


def service_queries() -> Mapping[str, Select[Any]]:
    """The rows of a copy. Checkpoints lie in run folders, which are not copied: a live job begins anew."""
    ended = select(JOBS.c.id).where(JOBS.c.status.in_((SUCCEEDED, FAILED, CANCELLED)))
    queries: dict[str, Select[Any]] = {table.name: select(table) for table in COPIED}
    queries[JOB_CHECKPOINTS.name] = select(JOB_CHECKPOINTS).where(JOB_CHECKPOINTS.c.job.in_(ended))
    return queries


def at_rest(table: Table, row: RowMapping) -> dict[str, Any]:
    """A row as it is stored in a copy: no worker holds a job there."""
    values = dict(row)
    if table is JOBS:
        values.update(status=_AT_REST.get(values["status"], values["status"]))
        values.update(worker=None, lease_until=None, wanted=None)
    return values


def copy_files(registry: Registry, rows: Sequence[RowMapping], folder: Path) -> bool:
    """Copies the bytes of files; False when one was deleted in the meantime.

    Args:
        folder: of the service in the copy.

    Raises:
        DamagedStoreError: [storage/damaged] for a file that is not what was stored.
    """
    store = LocalStore(folder / "files")
    for row in rows:
        file = StoredFile(**{name: row[name] for name in StoredFile.__dataclass_fields__})
        if damage := _copied(registry, file, store):
            try:
                find_file(registry, file.project, file.id)
            except ServiceError:
                return False
            raise DamagedStoreError("storage/damaged", f"the file {file.id} is not what was stored: {damage}")
    return True


def damages_of_files(registry: Registry) -> Iterator[str]:
    """One sentence for each file that is not what was stored."""
    with reading(registry.engine) as connection:
        rows = connection.execute(select(FILES)).mappings().all()
    for row in rows:
        file = StoredFile(**{name: row[name] for name in StoredFile.__dataclass_fields__})
        try:
            with registry.files.store.fresh(place_of(file.id)) as folder:
                damage = damage_of_file(folder / CONTENT, file)
        except BurnishError:
            damage = "its bytes are missing"
        if damage:
            yield f"file {file.id} ({file.project}): {damage}"


def _copied(registry: Registry, file: StoredFile, store: LocalStore) -> str | None:
    """Copies one file; gives what is wrong with it."""
    try:
        with registry.files.store.fresh(place_of(file.id)) as folder:
            damage = damage_of_file(folder / CONTENT, file)
            if damage is None:
                store.publish(place_of(file.id), {CONTENT: folder / CONTENT})
            return damage
    except (DamagedStoreError, FileNotFoundError):
        return "its bytes are missing"
