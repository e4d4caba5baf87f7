"""Large files in parts: each part is stored when it arrives, and all of them become one file or none does."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from burnish.errors import ServiceError, excerpt
from burnish.registry.database import reading, writing
from burnish.registry.files import (
    CONTENT,
    ORPHAN_SECONDS,
    Receiving,
    StoredFile,
    name_of,
    new_id,
    place_of,
    receive_file,
    too_large,
)
from burnish.registry.service_tables import PARTS, UPLOADS
from burnish.registry.store import Registry
from burnish.settings import settings

LIFETIME_SECONDS = 3600  # of an upload that nobody completes
MAX_PART_BYTES = 64 * 1024**2
MAX_PARTS = 10_000
_PIECE_BYTES = 1_048_576
PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way, in parts."""

    id: str
    project: str
    created: float
    expires: float
    status: str  # "pending", "completed", "cancelled", "expired"
    filename: str
    purpose: str
    mime_type: str
    size_bytes: int  # that its sender promised
    keep_seconds: int | None  # of the file it becomes
    file: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an upload."""

    id: str
    upload: str
    created: float
    size_bytes: int
    sha256: str


def create_upload(
    registry: Registry,
    project: str,
    *,
    filename: str,
    purpose: str,
    mime_type: str,
    size_bytes: int,
    keep_seconds: int | None,
) -> Upload:
    """Begins an upload.

    Raises:
        ServiceError: [files/too-large] (413), [files/bad-name].
    """
    most, now = settings().max_upload_bytes, time.time()
    if size_bytes > most:
        raise too_large(most)
    made = Upload(
        new_id("upload_"),
        project,
        now,
        now + LIFETIME_SECONDS,
        PENDING,
        name_of(filename),
        purpose,
        mime_type,
        size_bytes,
        keep_seconds,
        None,
    )
    with writing(registry.engine) as connection:
        connection.execute(
            insert(UPLOADS).values(**{name: getattr(made, name) for name in Upload.__dataclass_fields__})
        )
    return made


@contextlib.contextmanager
def receive_part(registry: Registry, project: str, upload_id: str) -> Iterator[PartReceiving]:
    """Takes a part piece by piece.

    Raises:
        ServiceError: [uploads/not-found] (404), [uploads/not-pending] (409).
    """
    upload = find_upload(registry, project, upload_id)
    require_pending(upload)
    with receive_file(registry, project) as receiving:
        yield PartReceiving(registry, upload, receiving)


class PartReceiving:
    """A part on its way in."""

    def __init__(self, registry: Registry, upload: Upload, receiving: Receiving) -> None:
        self._registry = registry
        self._upload = upload
        self._receiving = receiving
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Takes the next bytes; raises ServiceError [uploads/part-too-large] (413) and what a file's pieces raise."""
        self._size += len(piece)
        if self._size > MAX_PART_BYTES:
            raise ServiceError(
                "uploads/part-too-large",
                f"a part has at most {MAX_PART_BYTES:,} bytes",
                status=413,
                param="data",
                kind="part_too_large",
            )
        self._receiving.write(piece)

    def store(self) -> Part:
        """Adds it to its upload.

        Raises:
            ServiceError: [uploads/too-much] (400), [uploads/not-pending] (409), [files/quota] (413).
        """
        path, size, sha256 = self._receiving.finish()
        made = Part(new_id("part_"), self._upload.id, time.time(), size, sha256)
        store = self._registry.files.store
        store.publish(place_of(made.id), {CONTENT: path})
        try:
            with writing(self._registry.engine) as connection:
                require_pending(_read(connection, self._upload.project, self._upload.id))
                mine = PARTS.c.upload == self._upload.id
                count, total = connection.execute(select(func.count(), func.sum(PARTS.c.size_bytes)).where(mine)).one()
                if count >= MAX_PARTS or int(total or 0) + size > self._upload.size_bytes:
                    raise ServiceError(
                        "uploads/too-much",
                        f"the parts have more than the {self._upload.size_bytes:,} bytes that the upload was begun for",
                        status=400,
                        param="data",
                        kind="upload_too_large",
                    )
                self._receiving.require_room(connection, size)
                row = {name: getattr(made, name) for name in Part.__dataclass_fields__}
                connection.execute(insert(PARTS).values(**row))
        except ServiceError:
            store.remove(place_of(made.id))
            raise
        return made


def complete_upload(
    registry: Registry, project: str, upload_id: str, part_ids: Sequence[str], md5: str | None
) -> tuple[Upload, StoredFile]:
    """Makes a file of parts, in the order in which they are named.

    Raises:
        ServiceError: [uploads/not-found], [uploads/not-pending] (409), [uploads/unknown-part],
            [uploads/wrong-size], [uploads/wrong-md5].
    """
    upload = find_upload(registry, project, upload_id)
    require_pending(upload)
    parts = _named(registry, upload, part_ids)
    total, digest = 0, hashlib.md5(usedforsecurity=False)
    with receive_file(registry, project, limited=False) as receiving:  # its parts were held to the limits
        for part in parts:
            for piece in _pieces(registry.files.store.folder(place_of(part)) / CONTENT):
                receiving.write(piece)
                digest.update(piece)
                total += len(piece)
        if total != upload.size_bytes:
            text = f"the parts have {total:,} bytes, the upload was begun for {upload.size_bytes:,}"
            raise _wrong("uploads/wrong-size", text, "part_ids")
        if md5 is not None and digest.hexdigest() != md5.lower():
            raise _wrong("uploads/wrong-md5", f"the parts have the md5 {digest.hexdigest()}", "md5")
        expires = None if upload.keep_seconds is None else time.time() + upload.keep_seconds
        made = receiving.store(
            filename=upload.filename,
            purpose=upload.purpose,
            expires=expires,
            along=lambda connection, file: _close(connection, upload, "completed", file.id),
        )
    _remove_parts(registry, upload_id)
    return find_upload(registry, project, upload_id), made


def cancel_upload(registry: Registry, project: str, upload_id: str) -> Upload:
    """Ends an upload without a file.

    Raises:
        ServiceError: [uploads/not-found], [uploads/not-pending] (409).
    """
    with writing(registry.engine) as connection:
        _close(connection, _read(connection, project, upload_id), "cancelled", None)
    _remove_parts(registry, upload_id)
    return find_upload(registry, project, upload_id)


def find_upload(registry: Registry, project: str, upload_id: str) -> Upload:
    """An upload of a project.

    Raises:
        ServiceError: [uploads/not-found] (404).
    """
    with reading(registry.engine) as connection:
        return _read(connection, project, upload_id)


def sweep_uploads(registry: Registry) -> None:
    """Ends uploads that took too long, removes the parts of all that have ended, and forgets the latter a day later."""
    with writing(registry.engine) as connection:
        late = (UPLOADS.c.status == PENDING) & (UPLOADS.c.expires <= time.time())
        connection.execute(update(UPLOADS).where(late).values(status="expired"))
        ended = select(PARTS.c.upload).join(UPLOADS, UPLOADS.c.id == PARTS.c.upload).where(UPLOADS.c.status != PENDING)
        over = connection.scalars(ended.distinct()).all()
    for upload_id in over:
        _remove_parts(registry, upload_id)
    with writing(registry.engine) as connection:
        old = (UPLOADS.c.status != PENDING) & (UPLOADS.c.expires <= time.time() - ORPHAN_SECONDS)
        connection.execute(delete(UPLOADS).where(old, UPLOADS.c.id.not_in(select(PARTS.c.upload))))


def require_pending(upload: Upload) -> None:
    """Raises ServiceError [uploads/not-pending] (409) for an upload that takes nothing any more."""
    if upload.status != PENDING:
        raise ServiceError(
            "uploads/not-pending", f"the upload is {upload.status}", status=409, param="upload_id", kind="not_pending"
        )


def _read(connection: Connection, project: str, upload_id: str) -> Upload:
    query = select(UPLOADS).where(UPLOADS.c.id == upload_id, UPLOADS.c.project == project)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise ServiceError(
            "uploads/not-found",
            f"there is no upload {excerpt(upload_id)}",
            status=404,
            param="upload_id",
            kind="upload_not_found",
        )
    return _upload(row)


def _close(connection: Connection, upload: Upload, status: str, file: str | None) -> None:
    """Ends an upload that is still pending."""
    mine = (UPLOADS.c.id == upload.id) & (UPLOADS.c.status == PENDING)
    if connection.execute(update(UPLOADS).where(mine).values(status=status, file=file)).rowcount == 0:
        require_pending(_read(connection, upload.project, upload.id))


def _named(registry: Registry, upload: Upload, part_ids: Sequence[str]) -> Sequence[str]:
    with reading(registry.engine) as connection:
        known = set(connection.scalars(select(PARTS.c.id).where(PARTS.c.upload == upload.id)))
    for part in part_ids:
        if part not in known:
            raise _wrong("uploads/unknown-part", f"the upload has no part {excerpt(part)}", "part_ids")
    if len(set(part_ids)) != len(part_ids):
        raise _wrong("uploads/unknown-part", "a part is named twice", "part_ids")
    return part_ids


def _remove_parts(registry: Registry, upload_id: str) -> None:
    with reading(registry.engine) as connection:
        parts = connection.scalars(select(PARTS.c.id).where(PARTS.c.upload == upload_id)).all()
    for part in parts:
        registry.files.store.remove(place_of(part))
    with writing(registry.engine) as connection:
        connection.execute(delete(PARTS).where(PARTS.c.upload == upload_id))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece


def _wrong(code: str, message: str, param: str) -> ServiceError:
    return ServiceError(code, message, status=400, param=param, kind="invalid_value")


def _upload(row: RowMapping) -> Upload:
    """A row; what should have expired by now has."""
    values = {name: row[name] for name in Upload.__dataclass_fields__}
    if values["status"] == PENDING and values["expires"] <= time.time():
        values["status"] = "expired"
    return Upload(**values)
