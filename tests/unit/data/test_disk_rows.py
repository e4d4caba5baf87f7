"""Many rows are read from their version when they are asked for, and are the same rows with the same places."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from burnish.data import disk_rows
from burnish.data.disk_rows import DiskRows, with_rows_on_disk
from burnish.data.prepare import PreparedData
from burnish.data.versions import ROWS, Version, contents_of, store_version
from burnish.errors import DamagedStoreError
from burnish.types import Example, Origin, Provenance, Split

VALUES: tuple[Any, ...] = ("ä\u2028b", "", 7, 7.5, True, None, ["x", {"y": [1, 2.0]}])


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_rows, "LIMIT_BYTES", 0)


def example(number: int, **row: Any) -> Example:
    written = (Provenance.HUMAN, Provenance.CORRECTED, Provenance.SYNTHETIC)[number % 3]
    extra = {"user": f"u{number}"} if number % 2 else {}
    value = VALUES[number % len(VALUES)]
    return Example(
        {"text": f"t {number % 40}", "value": value, **row}, Origin(f"{number % 3}.csv", number), extra, written
    )


def prepared(train: Sequence[Example], *others: Example, made: Sequence[Example] = ()) -> PreparedData:
    found = {Split.TRAIN: list(train), Split.VALIDATION: list(others[::2]), Split.TEST: list(others[1::2])}
    return PreparedData(
        splits={**found, Split.TRAIN: [*train, *made]},
        found=found,
        problems=[],
        columns={},
        labels=(),
        label_counts={},
        class_weights={},
        notes=[],
        warnings=[],
        files={},
        split_fingerprint="",
    )


def stored(store: Path, data: PreparedData) -> Version:
    facts: dict[str, Any] = {"name": "f", "files": {}, "repairs": {}, "parents": []}
    return store_version(store, contents_of(e for rows in data.found.values() for e in rows), **facts)


def same(first: PreparedData, second: PreparedData) -> bool:
    return all(
        list(some[split]) == list(others[split])
        for some, others in ((first.splits, second.splits), (first.found, second.found))
        for split in Split
    )


def held(rows: Sequence[Example]) -> int:
    assert isinstance(rows, DiskRows)
    return len(rows._held)


def test_rows_come_back_as_they_were_in_their_order(tmp_path: Path) -> None:
    rows = [example(number) for number in range(150)]
    made = [*rows[5:9], example(999)]  # repeated ones, and one that no file has
    data = prepared(rows[:100], *rows[100:], made=made)
    on_disk = with_rows_on_disk(data, stored(tmp_path, data).folder)
    assert same(on_disk, data)
    assert [held(on_disk.found[split]) for split in Split] == [0, 0, 0]
    assert held(on_disk.splits[Split.TRAIN]) == 1
    train = on_disk.splits[Split.TRAIN]
    assert (len(train), train[-1], train[2], train[100]) == (105, made[-1], rows[2], rows[5])
    assert list(train[98:103]) == [*rows[98:100], *made[:3]]
    assert list(train[::-7]) == [*rows[:100], *made][::-7]
    with pytest.raises(IndexError):
        train[105]


def test_places_are_those_of_this_run_when_another_file_was_stored_first(tmp_path: Path) -> None:
    rows = [example(number) for number in range(60)]
    moved = [dataclasses.replace(row, origin=Origin("copy.csv", 1000 - row.origin.line)) for row in rows]
    first, second = prepared(rows[:40], *rows[40:]), prepared(moved[20:], *moved[:20])
    folder = stored(tmp_path, first).folder
    assert stored(tmp_path, second).folder == folder
    assert same(with_rows_on_disk(second, folder), second)


def test_a_row_that_json_changes_stays_in_memory(tmp_path: Path) -> None:
    strange = example(2, pair=(1, 2))
    data = prepared([example(1), strange, example(3)], example(4), example(5))
    on_disk = with_rows_on_disk(data, stored(tmp_path, data).folder)
    assert same(on_disk, data)
    assert held(on_disk.found[Split.TRAIN]) == 1
    assert on_disk.found[Split.TRAIN][1] is strange


def test_columns_keep_their_order(tmp_path: Path) -> None:
    data = prepared([example(1), example(2)], example(4), example(5))
    version = stored(tmp_path, data)
    turned = [dataclasses.replace(row, row=dict(reversed(row.row.items()))) for row in data.found[Split.TRAIN]]
    other = prepared(turned, example(4), example(5))
    on_disk = with_rows_on_disk(other, version.folder)
    assert [list(row.row) for row in on_disk.found[Split.TRAIN]] == [["value", "text"]] * 2
    assert held(on_disk.found[Split.TRAIN]) == 2


def test_damaged_and_other_lines_are_not_read(tmp_path: Path) -> None:
    rows = [example(number) for number in range(30)]
    data = prepared(rows[:20], *rows[20:])
    path = stored(tmp_path, data).folder / ROWS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3][:-9] + b"\n", lines[4].replace(b"t ", b"T "), *lines[5:]]))
    on_disk = with_rows_on_disk(data, path.parent)
    assert same(on_disk, data)
    assert sum(held(on_disk.found[split]) for split in Split) == 2
    path.write_bytes(b"".join(lines[:-1]))
    assert with_rows_on_disk(data, path.parent) is data
    path.write_bytes(b"".join([*lines, lines[-1]]))
    assert with_rows_on_disk(data, path.parent) is data


def test_a_version_that_is_deleted_is_read_to_the_end_and_one_that_is_cut_is_not(tmp_path: Path) -> None:
    rows = [example(number) for number in range(30)]
    data = prepared(rows[:20], *rows[20:])
    path = stored(tmp_path, data).folder / ROWS
    on_disk = with_rows_on_disk(data, path.parent)
    with path.open("rb+") as stream:
        stream.truncate(path.stat().st_size // 2)
    with pytest.raises(DamagedStoreError, match="became shorter") as caught:
        list(on_disk.splits[Split.TRAIN])
    assert caught.value.where == str(path)
    shutil.rmtree(path.parent)
    path = stored(tmp_path, data).folder / ROWS
    on_disk = with_rows_on_disk(data, path.parent)
    shutil.rmtree(path.parent)
    assert same(on_disk, data)


def test_threads_read_at_once(tmp_path: Path) -> None:
    rows = [example(number) for number in range(400)]
    data = prepared(rows[:300], *rows[300:])
    train = with_rows_on_disk(data, stored(tmp_path, data).folder).splits[Split.TRAIN]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: list(train), range(16)):
            assert found == rows[:300]


def test_few_rows_and_versions_without_rows_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared([example(1), example(2)], example(4), example(5))
    folder = stored(tmp_path, data).folder
    monkeypatch.setattr(disk_rows, "LIMIT_BYTES", (folder / ROWS).stat().st_size)
    assert with_rows_on_disk(data, folder) is data
    assert with_rows_on_disk(data, tmp_path / "gone") is data
