"""Rows that stay on the disk, so that a training's memory does not grow with their number.

As objects, rows take many times the bytes of their texts. A run's rows are stored as a data version before it trains,
and where they are many, each is read from there when somebody asks for it. Rows that were made for training, and those
that a version does not give back exactly as they were, stay in memory.
"""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from burnish.data.prepare import PreparedData
from burnish.data.versions import ROWS, Contents, contents_of, from_line
from burnish.errors import DamagedStoreError
from burnish.types import Example, Origin, Split

LIMIT_BYTES = 4 * 2**20  # of a version's file; rows of a smaller one are held in memory

Places = npt.NDArray[np.int64]


def with_rows_on_disk(data: PreparedData, version: Path, contents: Contents | None = None) -> PreparedData:
    """The same data, with rows that are read from a version of them when they are asked for.

    Args:
        data: prepared rows.
        version: folder of the version that holds `data.found`.
        contents: the rows in the version's order; made here when None.

    Returns:
        Data whose splits are `DiskRows`; `data` itself where its rows are few, the version holds others or none, or
        the system cannot read at a place of a file (Windows).
    """
    path = version / ROWS
    if not hasattr(os, "pread") or not path.is_file() or path.stat().st_size <= LIMIT_BYTES:
        return data
    if contents is None:
        contents = contents_of(example for examples in data.found.values() for example in examples)
    lines = _Lines(path, contents.rows)
    if not lines.gives_back.any():
        return data
    place_of = {id(example): place for place, example in enumerate(contents.rows) if lines.gives_back[place]}

    def moved(splits: Mapping[Split, Sequence[Example]]) -> dict[Split, Sequence[Example]]:
        return {split: DiskRows.of(examples, lines, place_of) for split, examples in splits.items()}

    return dataclasses.replace(data, splits=moved(data.splits), found=moved(data.found))


class DiskRows(Sequence[Example]):
    """Rows by their places in a version's file, each read anew when it is asked for; threads may ask at once.

    Args:
        lines: of the version.
        places: [N] line of each row; -1, -2, ...: the first, second, ... of `held`.
        held: rows that are in memory.
    """

    def __init__(self, lines: _Lines, places: Places, held: Sequence[Example]) -> None:
        self._lines, self._places, self._held = lines, places, held

    @classmethod
    def of(cls, examples: Sequence[Example], lines: _Lines, place_of: Mapping[int, int]) -> DiskRows:
        """The same rows in the same order; `place_of` knows the place of a row by its identity."""
        held: list[Example] = []
        places = np.empty(len(examples), np.int64)
        for index, example in enumerate(examples):
            place = place_of.get(id(example))
            if place is None:
                held.append(example)
                place = -len(held)
            places[index] = place
        return cls(lines, places, held)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> DiskRows: ...

    def __getitem__(self, index: int | slice) -> Example | DiskRows:
        if isinstance(index, slice):
            return DiskRows(self._lines, self._places[index], self._held)
        place = int(self._places[index])
        return self._held[-1 - place] if place < 0 else self._lines.example(place)


class _Lines:
    """The lines of a version's file and the rows that stand there, with their places in the files of this run.

    The file stays open: a version that is deleted or forgotten while a run reads it is there until the run ends.

    Args:
        path: rows.jsonl of the version.
        rows: what its lines should hold, in order.

    Attributes:
        gives_back: [N] bool, whether a line holds the row as it is, with its columns in their order.
    """

    def __init__(self, path: Path, rows: Sequence[Example]) -> None:
        self._path = path
        stream = path.open("rb", buffering=0)
        weakref.finalize(self, stream.close)
        self._descriptor = stream.fileno()
        files: dict[str, int] = {}
        self._file_numbers = np.fromiter((files.setdefault(r.origin.file, len(files)) for r in rows), np.int32)
        self._file_lines = np.fromiter((row.origin.line for row in rows), np.int64)
        self._files = tuple(files)
        self._starts = np.zeros(len(rows) + 1, np.int64)
        self.gives_back = np.zeros(len(rows), np.bool_)
        with path.open("rb") as lines:
            for place, (line, row) in enumerate(zip_longest(lines, rows)):
                if line is None or row is None:  # other rows than these: none of its lines counts
                    self.gives_back[:] = False
                    break
                self._starts[place + 1] = self._starts[place] + len(line)
                self.gives_back[place] = _is_same(line, row)

    def example(self, place: int) -> Example:
        """The row of a line.

        Raises:
            DamagedStoreError: [storage/damaged] when the file became shorter.
        """
        start, end = int(self._starts[place]), int(self._starts[place + 1])
        line = os.pread(self._descriptor, end - start, start)
        if len(line) != end - start:
            raise DamagedStoreError("storage/damaged", "became shorter while it was read", where=str(self._path))
        stored = from_line(line)
        origin = Origin(self._files[self._file_numbers[place]], int(self._file_lines[place]))
        return dataclasses.replace(stored, origin=origin)


def _is_same(line: bytes, row: Example) -> bool:
    """Whether a line holds a row: its columns in their order with equal values, what was kept beside, who wrote it."""
    try:
        stored = from_line(line)
    except (ValueError, KeyError, TypeError):  # damaged
        return False
    parts = [(each.row, each.extra, each.provenance) for each in (stored, row)]
    return parts[0] == parts[1] and list(stored.row) == list(row.row)
