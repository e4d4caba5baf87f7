"""One writer per folder: an operating-system lock that dies with its owner, so that no lock is ever stale."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from burnish.errors import RunError
from burnish.storage.durable import explained

LOCK = ".lock"


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder.

    Raises:
        RunError: [run/locked] naming the process that holds it.
    """
    path = folder / LOCK
    with explained(path, 0):
        stream = path.open("a+", encoding="utf-8")
    with stream:
        if not _try_lock(stream):
            raise RunError(
                "run/locked",
                f"another process works on this run ({_owner(path)})",
                where=str(folder),
                hint="wait for it, or stop it first",
            )
        with explained(path, 0):
            os.truncate(stream.fileno(), 0)
            os.write(stream.fileno(), json.dumps({"pid": os.getpid()}).encode())
        yield


@contextlib.contextmanager
def waited(folder: Path, seconds: float) -> Iterator[None]:
    """Holds the lock of a folder as soon as nobody else does.

    Raises:
        RunError: [run/locked] when that takes longer than `seconds`.
    """
    ends = time.monotonic() + seconds
    while True:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(exclusive(folder))
            except RunError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.05)
                continue
            yield
            return


def _owner(path: Path) -> str:
    try:
        return f"process {json.loads(path.read_text(encoding='utf-8'))['pid']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "process unknown"


def _try_lock(stream: IO[str]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
