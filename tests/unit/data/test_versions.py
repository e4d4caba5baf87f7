"""Rows kept under their hash: the same rows once, never changed, compared, and forgotten without a trace of them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from burnish.data.versions import (
    Version,
    contents_of,
    damaged_versions,
    difference,
    exported_row,
    find_version,
    forget,
    list_versions,
    matches,
    rows_of,
    store_version,
)
from burnish.errors import BurnishError, DamagedStoreError, DataProblemError, UsageError
from burnish.types import Example, Origin, Provenance


def example(text: str, label: str = "a", line: int = 2, **extra: Any) -> Example:
    return Example({"text": text, "label": label}, Origin("f.csv", line), extra)


def stored(store: Path, *examples: Example, **facts: Any) -> Version:
    facts = {"name": "f", "files": {}, "repairs": {}, "parents": []} | facts
    return store_version(store, contents_of(examples), **facts)


def test_equal_rows_are_one_version_in_any_order_and_from_any_place(tmp_path: Path) -> None:
    rows = [example(f"t {i}", "ab"[i % 2], i, user=i) for i in range(30)]
    first = stored(tmp_path, *rows)
    moved = [replace(row, origin=Origin("g.csv", 1)) for row in random.Random(1).sample(rows, 30)]
    before = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert stored(tmp_path, *moved, name="other") == first
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before
    assert [version.id for version in list_versions(tmp_path)] == [first.id]


@pytest.mark.parametrize(
    "other",
    [
        example("t", "b"),
        example("t "),
        example("t", user="1"),
        replace(example("t"), provenance=Provenance.CORRECTED),
    ],
)
def test_other_rows_are_another_version(tmp_path: Path, other: Example) -> None:
    assert stored(tmp_path, example("t")).id != stored(tmp_path, other).id
    assert stored(tmp_path, example("t")).id != stored(tmp_path, example("t"), example("t")).id


def test_rows_come_back_whole(tmp_path: Path) -> None:
    rows = [
        replace(example("é\u2028\u0085\n\t😀", "x", 7, user=3), provenance=Provenance.SYNTHETIC),
        Example({"messages": [{"role": "user", "content": "hi"}], "labels": ["b", "a"]}, Origin("g", 1)),
    ]
    found = list(rows_of(stored(tmp_path, *rows)))
    assert sorted(found, key=lambda e: e.origin.line, reverse=True) == rows
    assert list(rows_of(stored(tmp_path / "empty"))) == []


def test_the_manifest_says_what_is_inside(tmp_path: Path) -> None:
    rows = [example("four", "a", user="1"), replace(example("sixsix", "b"), provenance=Provenance.SYNTHETIC)]
    manifest = stored(tmp_path, *rows, parents=["p"], repairs={"rows": {"data/duplicate dropped": 3}}).manifest
    assert (manifest["rows"], manifest["columns"]) == (2, ["label", "text", "user"])
    assert (manifest["labels"], manifest["origins"]) == ({"a": 1, "b": 1}, {"human": 1, "synthetic": 1})
    assert manifest["lengths"] == {"median": 5, "max": 6}
    assert (manifest["parents"], manifest["repairs"]) == (["p"], {"rows": {"data/duplicate dropped": 3}})


def test_a_version_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    versions = [stored(tmp_path, example(f"t {i}")) for i in range(20)]
    assert all(find_version(version.id[:20], tmp_path) == version for version in versions)
    assert find_version(versions[3].id.upper(), tmp_path) == versions[3]
    with pytest.raises(UsageError) as caught:
        find_version("xyz", tmp_path)
    assert (caught.value.code, caught.value.where) == ("data/version-not-found", str(tmp_path))
    assert caught.value.hint is not None
    assert "burnish datasets list" in caught.value.hint
    first = max("0123456789abcdef", key=lambda digit: sum(v.id.startswith(digit) for v in versions))
    with pytest.raises(UsageError) as caught:
        find_version(first, tmp_path)
    assert caught.value.code == "data/version-ambiguous"
    assert set(caught.value.known) == {v.id for v in versions if v.id.startswith(first)}
    with pytest.raises(UsageError):
        find_version("", tmp_path / "absent")


def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    version = stored(tmp_path, example("t"))
    path = version.folder / "rows.jsonl"
    path.write_text(path.read_text().replace('"t"', '"u"'))
    with pytest.raises(DamagedStoreError, match=r"rows\.jsonl differs"):
        list(rows_of(version))
    (version.folder / "manifest.json").write_text("[" * 100_000)
    other = stored(tmp_path, example("other"))
    assert [found.id for found in list_versions(tmp_path)] == [other.id], "work with the others goes on"
    assert damaged_versions(tmp_path) == [version.id]
    with pytest.raises(DamagedStoreError) as caught:
        find_version(version.id[:8], tmp_path)
    assert (caught.value.code, caught.value.where) == ("storage/damaged", str(version.folder))


def test_the_difference_of_two_versions(tmp_path: Path) -> None:
    before = stored(tmp_path, example("same"), example("gone"), example("turned", "a"))
    corrected = replace(example("turned", "b"), provenance=Provenance.CORRECTED)
    after = stored(tmp_path, example("same"), example("new"), corrected)
    found = difference(before, after)
    assert [e.row["text"] for e in found.added] == ["new"]
    assert [e.row["text"] for e in found.removed] == ["gone"]
    assert [(e.row["text"], old, new) for e, old, new in found.relabelled] == [("turned", "a", "b")]
    assert difference(before, before) == type(found)([], [], [])


def test_an_exported_row_can_be_trained_on_again() -> None:
    row = replace(example("t", "x", user=7), provenance=Provenance.SYNTHETIC)
    assert exported_row(row) == {"user": 7, "text": "t", "label": "x", "origin": "synthetic"}


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [("user", "7", True), ("user", " 7 ", True), ("user", "70", False), ("label", "a", True), ("absent", "7", False)],
)
def test_what_a_condition_matches(column: str, value: str, found: bool) -> None:
    assert matches(example("t", user=7), column, value) is found


def test_forgotten_rows_are_gone_from_every_byte(tmp_path: Path) -> None:
    rows = [example("my secret", user="u7"), example("other", user="u8"), example("mine too", user="u7")]
    version = stored(tmp_path, *rows, name="tickets")
    successor = forget(version, "user", "u7")
    assert successor is not None
    assert [e.row["text"] for e in rows_of(successor)] == ["other"]
    assert (successor.manifest["parents"], successor.manifest["name"]) == ([version.id], "tickets")
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret" not in everything
    assert b"u7" not in everything
    tombstone = find_version(version.id, tmp_path)
    assert tombstone.forgotten is not None
    assert {**tombstone.forgotten, "time": ""} == {"time": "", "column": "user", "rows": 2, "successor": successor.id}
    with pytest.raises(UsageError) as caught:
        list(rows_of(tombstone))
    assert (caught.value.code, caught.value.where) == ("data/version-forgotten", version.short_id)
    assert caught.value.hint is not None
    assert successor.short_id in caught.value.hint


def test_forgetting_nobody_changes_nothing(tmp_path: Path) -> None:
    version = stored(tmp_path, example("t", user="u7"))
    assert forget(version, "user", "u8") is None
    assert list_versions(tmp_path) == [version]


def test_forgotten_rows_do_not_come_back_with_the_same_file(tmp_path: Path) -> None:
    rows = [example("secret", user="u7"), example("other", user="u8")]
    successor = forget(stored(tmp_path, *rows), "user", "u7")
    assert successor is not None
    with pytest.raises(DataProblemError) as caught:
        stored(tmp_path, *rows)
    assert (caught.value.code, caught.value.where) == ("data/forgotten-rows", "column user")
    assert caught.value.hint is not None
    assert successor.short_id in caught.value.hint
    assert stored(tmp_path, rows[1]) == successor


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("burnish.storage.durable.write_json", full)
    with pytest.raises(BurnishError) as caught:
        stored(tmp_path, example("t"))
    assert caught.value.code == "storage/disk-full"
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_no_version_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / ("0" * 64)).mkdir()
    (tmp_path / "notes" / "manifest.json").write_text(json.dumps({"id": "notes"}))
    assert list_versions(tmp_path) == []
