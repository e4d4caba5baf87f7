"""What can be made again at any time and is kept because making it takes long: arrays by key, below the user's home.

An entry is published whole and checked against its manifest when it is read. Nothing depends on it: a damaged entry is
deleted, a folder that cannot be written is done without, and the oldest entries go when the cache outgrows its limit.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.errors import BurnishError
from burnish.storage.arrays import load_arrays, save_arrays
from burnish.storage.durable import damage_of, published_folder, remove_leftovers, remove_published

if TYPE_CHECKING:
    from burnish.storage.arrays import Array

LIMIT_BYTES = 2 * 1024**3
KEY_LENGTH = 64  # a sha256
LEFTOVER_SECONDS = 3_600.0  # after which nobody is writing an entry any more


class Cache:
    """Entries of arrays.

    Args:
        folder: where they lie; made when the first one is kept.
        limit_bytes: of all entries; the ones not used for longest are deleted above it.
        reads: whether anything is found; what is made is kept in any case.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES, reads: bool = True) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.reads = reads

    def find(self, key: str) -> dict[str, Array] | None:
        """The arrays kept under a key, mapped read-only; None when there are none or they are damaged."""
        entry = self.folder / key
        if not self.reads or not entry.is_dir():
            return None
        if damage_of(entry):
            with contextlib.suppress(OSError):
                remove_published(entry)
            return None
        with contextlib.suppress(OSError):
            os.utime(entry)  # used now: the last one to be deleted
        return load_arrays(entry)

    def keep(self, key: str, arrays: Mapping[str, Array]) -> bool:
        """Keeps arrays under a key, a sha256; False when they could not be written."""
        try:
            with published_folder(self.folder / key) as entry:
                save_arrays(entry, arrays)
            self._shrink(but=key)
        except (BurnishError, OSError):
            return False
        return True

    def _shrink(self, *, but: str) -> None:
        remove_leftovers(self.folder, older_than_seconds=LEFTOVER_SECONDS)
        entries = [path for path in self.folder.iterdir() if len(path.name) == KEY_LENGTH]
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in entries}
        total = sum(sizes.values())
        for path in sorted(entries, key=lambda path: path.stat().st_mtime):
            if total > self.limit_bytes and path.name != but:
                remove_published(path)
                total -= sizes[path]
