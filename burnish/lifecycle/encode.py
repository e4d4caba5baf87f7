"""Rows into tokens or pixels, once: in parallel the first time, from the user's cache every other time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from burnish.data.prepare import PreparedData
from burnish.engine.rows import EncodedRows
from burnish.errors import UsageError
from burnish.lifecycle.environment import default_threads
from burnish.settings import settings
from burnish.storage.cache import Cache
from burnish.storage.fingerprint import canonical_json, canonical_sha256, file_sha256
from burnish.types import Encoded, Example, Problem, Progress, Refusal, Split, Task

CHUNK = 256  # rows that a thread encodes before it takes the next ones
_reads: ContextVar[bool] = ContextVar("reads", default=True)


def cache() -> Cache:
    """Where tokens and vectors of frozen bases are kept."""
    return Cache(settings().expanded_home() / "cache", reads=_reads.get())


@contextlib.contextmanager
def computed_anew() -> Iterator[None]:
    """Within it nothing is taken from the cache: what is made again is to be compared with what was made before."""
    token = _reads.set(False)
    try:
        yield
    finally:
        _reads.reset(token)


def encode_splits(
    task: Any, data: PreparedData, progress: Progress, *, ours: bool
) -> tuple[dict[Split, EncodedRows], list[Problem]]:
    """Token ids of every row; rows cut at the base's limit are listed, rows without tokens stop the run.

    Args:
        ours: the task is burnish's own. What a task of the caller's reads is not known, so its rows are not kept, and
            it is not asked from several threads at once.

    Raises:
        UsageError: the code of the task's refusal, at the row's place.
    """
    encoded: dict[Split, EncodedRows] = {}
    problems: list[Problem] = []
    for split, examples in data.splits.items():
        key = _key(task, examples) if ours else None
        kept = cache().find(key) if key else None
        if kept is not None:
            encoded[split] = EncodedRows(kept)
        else:
            encoded[split] = EncodedRows.of(_encoded(task, examples, threads=default_threads() if ours else 1))
            if key and cache().keep(key, encoded[split].arrays):
                encoded[split] = EncodedRows(cache().find(key) or encoded[split].arrays)  # from here on on the disk
        problems += truncated(encoded[split], examples, task.max_length)
    warn_of_truncated(problems, task.max_length, progress)
    return encoded, problems


def truncated(rows: EncodedRows, examples: Sequence[Example], max_length: int) -> list[Problem]:
    """The rows whose end is not read."""
    lost = rows.arrays["truncated"]
    reason = "longer than {} tokens; the last {} are not read"
    return [
        Problem("data/truncated", reason.format(max_length, lost[index]), examples[index].origin, action="kept")
        for index in np.flatnonzero(lost).tolist()
    ]


def warn_of_truncated(problems: Sequence[Problem], max_length: int, progress: Progress) -> None:
    if problems:
        rows = "1 row is" if len(problems) == 1 else f"{len(problems):,} rows are"
        progress.warn(
            f"{rows} longer than the {max_length} tokens the base reads; their end is not read "
            "(listed in problems.jsonl)"
        )


def encode_images(task: Any, data: PreparedData, progress: Progress) -> dict[Split, EncodedRows]:
    """The pixels of every image in the size of the base, decoded once for the same files and the same base.

    Raises:
        UsageError: the code of the task's refusal, at the row's place.
    """
    encoded: dict[Split, EncodedRows] = {}
    for split, examples in data.splits.items():
        key = _key_of_images(task, examples)
        kept = cache().find(key)
        if kept is None:
            progress.stage(f"decoding the {split.value} images")
            rows = []
            for done, example in enumerate(examples):
                rows.append(required(task.encode(example.row), example))
                progress.advance(done + 1, len(examples), {})
            kept = EncodedRows.of(rows).arrays
            cache().keep(key, kept)
        encoded[split] = EncodedRows(kept)
    return encoded


def _key_of_images(task: Any, examples: Sequence[Example]) -> str:
    """Everything the pixels depend on: the files, the base's size and filter, Pillow, and the code."""
    import PIL

    settled: dict[str, Any] = {
        "rows": [[example.row["sha256"], example.row["label"]] for example in examples],
        "preprocessing": dataclasses.asdict(task.preprocessing),
        "labels": task.labels,
        "pillow": PIL.__version__,
        "code": [file_sha256(Path(inspect.getfile(part))) for part in (type(task), type(task.preprocessing))],
    }
    return canonical_sha256(settled)


def encode_or_refuse(task: Task, examples: Sequence[Example]) -> list[Encoded | Refusal]:
    """What the task makes of each row, in order, from several threads."""

    def encode(start: int) -> list[Encoded | Refusal]:
        return [task.encode(example.row) for example in examples[start : start + CHUNK]]

    with ThreadPoolExecutor(default_threads()) as pool:
        return [row for rows in pool.map(encode, range(0, len(examples), CHUNK)) for row in rows]


def _encoded(task: Task, examples: Sequence[Example], *, threads: int) -> Iterator[Encoded]:
    """The rows in order; tokenizers let other threads run while they work."""

    def encode(start: int) -> list[Encoded]:
        return [required(task.encode(example.row), example) for example in examples[start : start + CHUNK]]

    starts = range(0, len(examples), CHUNK)
    if threads == 1:
        yield from chain.from_iterable(map(encode, starts))
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from chain.from_iterable(pool.map(encode, starts))


def required(row: Encoded | Refusal, example: Example) -> Encoded:
    """The encoded row; UsageError with the code of the refusal, at the row's place, when there is none."""
    if isinstance(row, Refusal):
        raise UsageError(row.code, row.reason, where=str(example.origin), hint="remove this row, or mend it")
    return row


def _key(task: Any, examples: Sequence[Example]) -> str:
    """Everything the tokens depend on: the tokenizer with its settings, the task and its code, the rows in order."""
    import tokenizers

    rows = hashlib.sha256()
    for example in examples:
        rows.update(canonical_json(dict(example.row)).encode("utf-8", "surrogatepass"))
    settled: dict[str, Any] = {
        "tokenizer": hashlib.sha256(task.tokenizer.to_str().encode()).hexdigest(),
        "tokenizers": tokenizers.__version__,
        "task": task.name,
        "code": file_sha256(Path(inspect.getfile(type(task)))),
        "settings": task.describe(),
        "rows": rows.hexdigest(),
    }
    return canonical_sha256(settled)
