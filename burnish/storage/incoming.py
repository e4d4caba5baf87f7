"""A file that arrives in pieces: written as it comes, hashed on the way, gone again unless somebody keeps it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from burnish.storage.durable import TEMPORARY, explained, make_folder


class Incoming:
    """What has arrived of a file so far."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self.size_bytes = 0
        self._stream = stream
        self._sha256 = hashlib.sha256()

    def write(self, piece: bytes) -> None:
        """Takes the next bytes.

        Raises:
            DiskFullError: [storage/disk-full].
        """
        with explained(self.path, len(piece)):
            self._stream.write(piece)
        self._sha256.update(piece)
        self.size_bytes += len(piece)

    def finish(self) -> str:
        """Ends the file; gives its sha256."""
        with explained(self.path, 0):
            self._stream.flush()
            os.fsync(self._stream.fileno())
        return self._sha256.hexdigest()


@contextlib.contextmanager
def incoming(folder: Path) -> Iterator[Incoming]:
    """A new file in a folder, which only its owner may read; it is deleted at the end of the block.

    Raises:
        DiskFullError: [storage/disk-full].
    """
    make_folder(folder)
    with explained(folder, 0):
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield Incoming(Path(name), stream)
    finally:
        Path(name).unlink(missing_ok=True)
