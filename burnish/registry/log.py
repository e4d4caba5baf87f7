"""The log of the service: one line for every request that may change something, each sealed with all before it.

    <home>/service/log.jsonl   {"n": 7, ..., "seal": sha256 of the seal before and of this entry}

The newest seal is in the database too, so that lines missing at the end are noticed as well.
"""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from burnish.errors import BurnishError
from burnish.registry.database import open_database, reading, writing
from burnish.registry.service_tables import SERVICE_LOGS
from burnish.registry.store import Registry
from burnish.storage.durable import append_lines, copy_file, fsync_file, make_folder
from burnish.storage.fingerprint import canonical_sha256
from burnish.storage.lock import waited

LOG = "log.jsonl"
PATIENCE_SECONDS = 30
_AT_ONCE = 512  # entries that share one fsync


class ServiceLog:
    """The log in a folder; any number of processes may add to it."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self._registry = registry
        self.path = folder / LOG

    def add(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Appends entries; they are on the disk when this returns.

        Raises:
            DiskFullError: [storage/disk-full].
        """
        make_folder(self.path.parent)
        with self.alone(), writing(self._registry.engine) as connection:
            head = self.head(connection)
            number, seal, size = (0, "", 0) if head is None else (head["entries"], head["seal"], head["size_bytes"])
            added = list(entries)
            if strays := self._beyond(size):  # a killed process wrote them, and could not say so any more
                number, seal = number + len(strays), str(strays[-1].get("seal", ""))
                added.insert(0, {"time": time.time(), "event": "recovered", "lines": len(strays)})
            log = (self._id() or secrets.token_hex(8)) if head is None else str(head["id"])
            lines: list[Mapping[str, Any]] = []
            for entry in added:
                line = {"n": number, **({"log": log} if number == 0 else {}), **entry}
                seal = canonical_sha256([seal, line])
                lines.append({**line, "seal": seal})
                number += 1
            size = append_lines(self.path, lines)
            fsync_file(self.path)
            values = {"entries": number, "seal": seal, "size_bytes": size, "place": self._place()}
            if head is None:
                connection.execute(insert(SERVICE_LOGS).values(id=log, **values))
            else:
                connection.execute(update(SERVICE_LOGS).where(SERVICE_LOGS.c.id == log).values(**values))

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every entry, oldest first; a line that is none is left out."""
        for line in self._lines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry

    def damages(self) -> list[str]:
        """One sentence for the first thing that is not as it was written; empty when everything is."""
        if not self.path.parent.is_dir():
            return []
        with self.alone():
            with reading(self._registry.engine) as connection:
                head = self.head(connection)
            if head is not None and self._id() != head["id"]:
                return [f"{LOG}: the log that the database knows is not there"]
            seal, number = "", 0
            for number, line in enumerate(self._lines(), start=1):
                if fault := _fault(line, number - 1, seal):
                    return [f"{LOG}, line {number}: {fault}"]
                seal = str(json.loads(line)["seal"])
                if head is not None and number == head["entries"] and seal != head["seal"]:
                    return [f"{LOG}, line {number}: it is not the entry that the database knows"]
            known = 0 if head is None else int(head["entries"])
            if number < known:
                return [f"{LOG}: {known - number} entries are missing at its end"]
            if number > known:
                return [f"{LOG}: {number - known} entries at its end are not known to the database"]
        return []

    def head(self, connection: Connection) -> RowMapping | None:
        """What the database knows of this log: by its id, or by its place when the file is gone or another one."""
        for which in (SERVICE_LOGS.c.id == self._id(), SERVICE_LOGS.c.place == self._place()):
            row = connection.execute(select(SERVICE_LOGS).where(which)).mappings().first()
            if row is not None:
                return row
        return None

    def _id(self) -> str | None:
        """The name that the first entry gives the log; a moved one keeps it."""
        first = next(self._lines(), b"")
        try:
            entry = json.loads(first)
            return str(entry["log"])
        except (ValueError, KeyError, TypeError):
            return None

    def _lines(self) -> Iterator[bytes]:
        if self.path.is_file():
            with self.path.open("rb") as stream:
                yield from stream

    def _beyond(self, size: int) -> list[dict[str, Any]]:
        """Whole lines after the first `size` bytes."""
        if not self.path.is_file() or self.path.stat().st_size <= size:
            return []
        with self.path.open("rb") as stream:
            stream.seek(size)
            found = []
            for line in stream.read().split(b"\n")[:-1]:
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = None
                found.append(entry if isinstance(entry, dict) else {})
            return found

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes to it meanwhile."""
        with waited(self.path.parent, PATIENCE_SECONDS):
            yield

    def _place(self) -> str:
        return f"{socket.gethostname()}:{self.path.resolve()}"


def copy_log(registry: Registry, folder: Path, target: Path) -> None:
    """Copies a log as it is now into the folder of a backup, whose database gets to know it."""
    log, copy = ServiceLog(registry, folder), ServiceLog(registry, target)
    if not log.path.is_file():
        return
    make_folder(target)
    with log.alone():
        with reading(registry.engine) as connection:
            row = log.head(connection)
        copy_file(log.path, copy.path)
    if row is not None:
        with writing(open_database(target.parent, None)) as connection:
            connection.execute(insert(SERVICE_LOGS).values(**row))


def _fault(line: bytes, number: int, before: str) -> str | None:
    """What is wrong with a line, given its place and the seal before it."""
    if not line.endswith(b"\n"):
        return "it was cut off"
    try:
        entry = json.loads(line)
        seal = entry.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError):
        return "it is no entry"
    if entry.get("n") != number:
        return "an entry is missing, doubled or out of its place"
    if json.dumps({**entry, "seal": seal}, ensure_ascii=False, allow_nan=False).encode() + b"\n" != line:
        return "it was changed"
    return "it or one before it was changed" if seal != canonical_sha256([before, entry]) else None


class LogWriter:
    """Adds entries from a thread of its own; what waits together shares one fsync."""

    def __init__(self, log: ServiceLog) -> None:
        self._log = log
        self._waiting: queue.Queue[tuple[Mapping[str, Any], Future[None]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._write, name="burnish-log", daemon=True)
        self._thread.start()

    def put(self, entry: Mapping[str, Any]) -> Future[None]:
        """Takes an entry; what it gives is done when the entry is on the disk, or raises why it is not."""
        done: Future[None] = Future()
        self._waiting.put((entry, done))
        return done

    def close(self) -> None:
        """Writes what waits, and ends."""
        self._waiting.put(None)
        self._thread.join()

    def _write(self) -> None:
        while True:
            batch = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _AT_ONCE:
                    batch.append(self._waiting.get_nowait())
            entries = [each for each in batch if each is not None]
            try:
                if entries:
                    self._log.add([entry for entry, _ in entries])
                for _, done in entries:
                    done.set_result(None)
            except (BurnishError, OSError) as error:
                for _, done in entries:
                    done.set_exception(error)
            if None in batch:
                return
