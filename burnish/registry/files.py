"""Files that were sent to the service: a row with the owner's name for it, and the bytes under an id of ours.

The bytes are stored before the row and go after it, so that no row ever lacks them; what a killed process leaves
without a row is swept away a day later.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, RowMapping, delete, func, insert, select

from burnish.errors import DamagedStoreError, ServiceError, excerpt
from burnish.registry.database import reading, writing
from burnish.registry.queue import live_job_of_file
from burnish.registry.service_tables import FILES, PARTS, UPLOADS
from burnish.registry.store import Registry
from burnish.settings import settings
from burnish.storage.durable import TEMPORARY
from burnish.storage.fingerprint import file_sha256
from burnish.storage.incoming import Incoming, incoming

SENT = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")  # purposes that a client may name
RESULTS = "fine-tune-results"
CONTENT = "content"  # name of the bytes in the store
FILE_ID = re.compile(r"file-[0-9a-f]{30}")
ORPHAN_SECONDS = 86_400
LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a project."""

    id: str
    project: str
    created: float  # seconds since the epoch
    expires: float | None
    filename: str  # as its sender calls it
    purpose: str
    size_bytes: int
    sha256: str


class Receiving:
    """A file on its way in, held to the limits while it grows."""

    def __init__(self, registry: Registry, project: str, arriving: Incoming, *, limited: bool) -> None:
        self._registry = registry
        self._project = project
        self._arriving = arriving
        chosen = settings()
        self._most = chosen.max_upload_bytes if limited else None
        self._quota = chosen.max_project_bytes if limited else None
        self._used = used_bytes(registry, project) if self._quota is not None else 0

    def write(self, piece: bytes) -> None:
        """Takes the next bytes.

        Raises:
            ServiceError: [files/too-large], [files/quota], both 413.
            DiskFullError: [storage/disk-full].
        """
        size = self._arriving.size_bytes + len(piece)
        if self._most is not None and size > self._most:
            raise too_large(self._most)
        if self._quota is not None and self._used + size > self._quota:
            raise over_quota(self._quota)
        self._arriving.write(piece)

    def finish(self) -> tuple[Path, int, str]:
        """Ends it; gives where it lies until the end of the block, its size and its sha256."""
        sha256 = self._arriving.finish()
        return self._arriving.path, self._arriving.size_bytes, sha256

    def store(
        self,
        *,
        filename: str,
        purpose: str,
        expires: float | None = None,
        along: Callable[[Connection, StoredFile], None] = lambda connection, made: None,
    ) -> StoredFile:
        """Makes it a file of the project.

        Args:
            filename: shown to its owner; never a path.
            expires: seconds since the epoch.
            along: what is written to the database together with it, or not at all.

        Raises:
            ServiceError: [files/bad-name], [files/empty], [files/quota].
        """
        made = self.keep(filename=filename, purpose=purpose, expires=expires)
        try:
            with writing(self._registry.engine) as connection:
                along(connection, made)
                self.require_room(connection, made.size_bytes)
                add_row(connection, made)
        except ServiceError:
            self._registry.files.store.remove(place_of(made.id))
            raise
        return made

    def require_room(self, connection: Connection, size: int) -> None:
        """Raises ServiceError [files/quota] when the project has no room for so many bytes, within a transaction."""
        if self._quota is not None and _used(connection, self._project) + size > self._quota:
            raise over_quota(self._quota)

    def keep(self, *, filename: str, purpose: str, expires: float | None = None) -> StoredFile:
        """Stores the bytes; the file is there once `add_row` has made it one of the project.

        Raises:
            ServiceError: [files/bad-name], [files/empty].
        """
        filename = name_of(filename)
        if self._arriving.size_bytes == 0:
            raise ServiceError("files/empty", "the file is empty", status=400, param="file", kind="empty_file")
        path, size, sha256 = self.finish()
        made = StoredFile(new_id("file-"), self._project, time.time(), expires, filename, purpose, size, sha256)
        self._registry.files.store.publish(place_of(made.id), {CONTENT: path})
        return made


@contextlib.contextmanager
def receive_file(registry: Registry, project: str, *, limited: bool = True) -> Iterator[Receiving]:
    """Takes a file piece by piece; what is not stored at the end of the block is gone.

    Args:
        limited: by the settings' sizes; what the service itself writes is not.
    """
    with incoming(registry.files.incoming) as arriving:
        yield Receiving(registry, project, arriving, limited=limited)


def store_file(
    registry: Registry,
    project: str,
    *,
    filename: str,
    purpose: str,
    chunks: Iterable[bytes],
    expires: float | None = None,
    limited: bool = True,
) -> StoredFile:
    """Stores a file from its pieces.

    Raises:
        ServiceError: [files/too-large], [files/quota], [files/bad-name], [files/empty].
    """
    with receive_file(registry, project, limited=limited) as receiving:
        for chunk in chunks:
            receiving.write(chunk)
        return receiving.store(filename=filename, purpose=purpose, expires=expires)


def store_bytes(registry: Registry, project: str, content: bytes, *, filename: str, purpose: str) -> StoredFile:
    """Stores what the service itself writes; it is a file of the project once `add_row` has made it one."""
    with receive_file(registry, project, limited=False) as receiving:
        receiving.write(content)
        return receiving.keep(filename=filename, purpose=purpose)


def add_row(connection: Connection, file: StoredFile) -> None:
    """Makes stored bytes a file of their project, within a transaction that writes."""
    row = {name: getattr(file, name) for name in StoredFile.__dataclass_fields__}
    connection.execute(insert(FILES).values(**row))


def find_file(
    registry: Registry, project: str, file_id: str, *, param: str = "file_id", also_expired: bool = False
) -> StoredFile:
    """A file of a project.

    Args:
        also_expired: for a job that was asked for in time: its files stay until it has ended.

    Raises:
        ServiceError: [files/not-found] (404), also for a file of another project and for one that has expired.
    """
    query = select(FILES).where(FILES.c.id == file_id, FILES.c.project == project)
    with reading(registry.engine) as connection:
        row = connection.execute(query).mappings().one_or_none()
    over = row is not None and row["expires"] is not None and row["expires"] <= time.time()
    if row is None or (over and not also_expired):
        raise _not_found(file_id, param)
    return _file(row)


def list_files(
    registry: Registry,
    project: str,
    *,
    after: str | None = None,
    limit: int = 10_000,
    newest_first: bool = True,
    purpose: str | None = None,
) -> tuple[list[StoredFile], bool]:
    """Files of a project in the order they came, and whether there are more.

    Args:
        after: id that the page before ended with; it may have been deleted since.
    """
    if after is not None and not FILE_ID.fullmatch(after):
        raise ServiceError("files/bad-cursor", f'"{excerpt(after)}" is no id of a file', status=400, param="after")
    query = select(FILES).where(FILES.c.project == project)
    query = query.where(FILES.c.expires.is_(None) | (FILES.c.expires > time.time()))
    if purpose is not None:
        query = query.where(FILES.c.purpose == purpose)
    if after is not None:
        query = query.where(FILES.c.id < after if newest_first else FILES.c.id > after)
    query = query.order_by(FILES.c.id.desc() if newest_first else FILES.c.id).limit(limit + 1)
    with reading(registry.engine) as connection:
        rows = connection.execute(query).mappings().all()
    return [_file(row) for row in rows[:limit]], len(rows) > limit


def delete_file(registry: Registry, project: str, file_id: str) -> None:
    """Deletes a file of a project.

    Raises:
        ServiceError: [files/not-found]; [files/in-use], 409, while a job needs it.
    """
    with writing(registry.engine) as connection:
        if job := live_job_of_file(connection, file_id):
            raise _in_use(job)
        mine = (FILES.c.id == file_id) & (FILES.c.project == project)
        if connection.execute(delete(FILES).where(mine)).rowcount == 0:
            raise _not_found(file_id, "file_id")
    registry.files.store.remove(place_of(file_id))


def require_files(connection: Connection, project: str, file_ids: Mapping[str, str]) -> None:
    """Raises ServiceError [files/not-found] unless the files are still there, within a transaction that writes.

    Args:
        file_ids: param -> id.
    """
    query = select(FILES.c.id).where(FILES.c.project == project, FILES.c.id.in_(file_ids.values()))
    known = set(connection.scalars(query))
    for param, file_id in file_ids.items():
        if file_id not in known:
            raise _not_found(file_id, param)


def file_path(registry: Registry, file: StoredFile) -> Path:
    """The bytes of a file on this machine, verified.

    Raises:
        DamagedStoreError: [storage/damaged].
    """
    path = registry.files.store.folder(place_of(file.id)) / CONTENT
    if damage := damage_of_file(path, file):
        raise DamagedStoreError(
            "storage/damaged",
            f"the file {file.id} is not what was stored: {damage}",
            hint="restore it from a copy made by `burnish backup`",
        )
    return path


def damage_of_file(path: Path, file: StoredFile) -> str | None:
    """What differs between stored bytes and their row; None when nothing does."""
    if not path.is_file():
        return "its bytes are missing"
    if path.stat().st_size != file.size_bytes:
        return f"it has {path.stat().st_size} bytes instead of {file.size_bytes}"
    return "it differs from its sha256" if file_sha256(path) != file.sha256 else None


def sweep_files(registry: Registry) -> list[str]:
    """Deletes files that have expired and that no job needs, and bytes that no file has; gives the ids of the files."""
    _sweep_incoming(registry.files.incoming)
    gone = select(FILES.c.id).where(FILES.c.expires <= time.time())
    with reading(registry.engine) as connection:
        late = list(connection.scalars(gone))
    expired = []
    for file_id in late:
        with writing(registry.engine) as connection:
            if live_job_of_file(connection, file_id):
                continue
            connection.execute(delete(FILES).where(FILES.c.id == file_id))
        registry.files.store.remove(place_of(file_id))
        expired.append(file_id)
    stored = list(registry.files.store.ids())
    with reading(registry.engine) as connection:
        known = {place_of(each) for table in (FILES, PARTS) for each in connection.scalars(select(table.c.id))}
    for place, age_seconds in stored:
        if place not in known and age_seconds > ORPHAN_SECONDS:
            registry.files.store.remove(place)
    return expired


def _sweep_incoming(folder: Path) -> None:
    """Removes what was arriving when its server was killed: an upload that goes on is written to all the time."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ORPHAN_SECONDS:
                path.unlink()


def used_bytes(registry: Registry, project: str) -> int:
    """What the files and the unfinished uploads of a project take."""
    with reading(registry.engine) as connection:
        return _used(connection, project)


def _used(connection: Connection, project: str) -> int:
    files = connection.scalar(select(func.sum(FILES.c.size_bytes)).where(FILES.c.project == project))
    parts = select(func.sum(PARTS.c.size_bytes)).join(UPLOADS, UPLOADS.c.id == PARTS.c.upload)
    waiting = connection.scalar(parts.where(UPLOADS.c.project == project, UPLOADS.c.status == "pending"))
    return int(files or 0) + int(waiting or 0)


def new_id(prefix: str) -> str:
    """An id that nobody guesses, and that comes after every older one in the order of text."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(9)}"


def place_of(file_id: str) -> str:
    """Where the store keeps a file: 64 hex digits, made from its id."""
    return hashlib.sha256(file_id.encode()).hexdigest()


def name_of(filename: str) -> str:
    """The name of a file without the folders that a sender put before it.

    Raises:
        ServiceError: [files/bad-name] for what cannot be shown as a name.
    """
    filename = re.split(r"[/\\]", filename)[-1]
    filename = "file" if filename in ("", ".", "..") else filename
    if not 0 < len(filename) <= LONGEST_NAME or not filename.isprintable():
        raise ServiceError(
            "files/bad-name",
            f"a file name has 1 to {LONGEST_NAME} printable characters",
            status=400,
            param="file",
            kind="invalid_filename",
        )
    return filename


def too_large(most: int) -> ServiceError:
    return ServiceError(
        "files/too-large",
        f"the file is larger than {most:,} bytes",
        status=413,
        param="file",
        kind="file_too_large",
        hint="send it in fewer rows, or ask who runs this server to raise BURNISH_MAX_UPLOAD_BYTES",
    )


def over_quota(quota: int) -> ServiceError:
    return ServiceError(
        "files/quota",
        f"the files of this project would take more than {quota:,} bytes",
        status=413,
        param="file",
        kind="quota_exceeded",
        hint="delete files that are no longer needed",
    )


def _in_use(job: str) -> ServiceError:
    return ServiceError(
        "files/in-use",
        f"the file is used by the job {job}, which has not ended",
        status=409,
        param="file_id",
        kind="file_in_use",
        hint="cancel the job, or wait until it has ended",
    )


def _not_found(file_id: str, param: str) -> ServiceError:
    return ServiceError(
        "files/not-found", f"there is no file {excerpt(file_id)}", status=404, param=param, kind="file_not_found"
    )


def _file(row: RowMapping) -> StoredFile:
    return StoredFile(**{name: row[name] for name in StoredFile.__dataclass_fields__})
