"""Rows that this process has prepared before: another training on the same files need not read them again.

What is remembered is known by the bytes of the files and by all that decides what becomes of them, so that a file that
changed is read anew whatever its date says. It is bounded, and left out where rows name further files or lie elsewhere.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from burnish.data.options import DataOptions
from burnish.data.prepare import PreparedData, prepare
from burnish.data.records import SourceShape
from burnish.data.remote import is_remote
from burnish.data.row_format import RowFormat
from burnish.data.source import inspect_source

KEPT = 4  # shapes and preparations, the latest ones
LIMIT_BYTES = 4 * 2**20  # of the files of one; for more, reading is worth the memory that the training can use

_known: OrderedDict[Hashable, Any] = OrderedDict()
_lock = Lock()


def prepare_once(
    options: DataOptions,
    wanted: Mapping[str, type],
    *,
    base_folder: Path,
    seed: int,
    row_format: RowFormat | None = None,
) -> PreparedData:
    """What `prepare` gives, from memory where this process has prepared the same; nobody may change it.

    Raises:
        BurnishError: those of `prepare`.
    """

    def make() -> PreparedData:
        return prepare(options, wanted, base_folder=base_folder, seed=seed, row_format=row_format)

    names = [*options.train_files, *options.validation_files, *options.test_files]
    names += [options.clean.relabel] if options.clean.relabel is not None else []
    if any(map(is_remote, names)) or (row_format is not None and "image" in row_format.columns):
        return make()
    rows = row_format and (row_format.name, row_format.task, tuple(row_format.columns.items()), row_format.canonical)
    paths = [base_folder / name for name in names]
    place = os.path.abspath(base_folder)  # noqa: PTH100
    settled = ("prepared", options.model_dump_json(), tuple(wanted.items()), place, seed, rows)
    found: PreparedData = _remembered(settled, paths, make)
    return found


def inspect_once(path: Path, options: DataOptions, *, name: str) -> SourceShape:
    """What `inspect_source` gives, from memory where this process has looked at the same file.

    Raises:
        DataReadError: those of `inspect_source`.
    """
    place = os.path.abspath(path)  # noqa: PTH100  # resolve() fails on links in a circle
    settled = ("inspected", place, options.model_dump_json(), name)
    found: SourceShape = _remembered(settled, [path], lambda: inspect_source(path, options, name=name))
    return found


def _remembered(settled: tuple[Hashable, ...], paths: list[Path], make: Callable[[], Any]) -> Any:
    """What `make` gives for these files, made once for the same bytes; not kept when they change while it works."""
    contents = _contents(paths)
    if contents is None:
        return make()
    key = (settled, contents)
    with _lock:
        if key in _known:
            _known.move_to_end(key)
            return _known[key]
    made = make()
    if _contents(paths) == contents:
        with _lock:
            _known[key] = made
            while len(_known) > KEPT:
                _known.popitem(last=False)
    return made


def _contents(paths: list[Path]) -> tuple[str, ...] | None:
    """sha256 of each file; None where one is none (a pattern, a folder, nothing) or they are too large."""
    try:
        if not all(path.is_file() for path in paths) or sum(path.stat().st_size for path in paths) > LIMIT_BYTES:
            return None
        return tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    except OSError:  # reading it says what is wrong
        return None
