"""The second preparation of the same bytes costs nothing; of other bytes, or for something else, all of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.data import remembered
from burnish.data.options import DataOptions
from burnish.data.prepare import prepare
from burnish.data.remembered import KEPT, inspect_once, prepare_once
from burnish.errors import DataReadError

WANTED = {"text": str, "label": str}
ROWS = [(f"where is my card {word}", "card") for word in ("now", "today", "please", "again", "here", "there")]
ROWS += [(f"the money is late {word}", "late") for word in ("now", "today", "please", "again", "here", "there")]


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    remembered._known.clear()
    yield
    remembered._known.clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each time that rows are really prepared or a file is really inspected."""
    found: list[str] = []
    for name in ("prepare", "inspect_source"):
        real = getattr(remembered, name)

        def counted(*arguments: Any, _real: Any = real, _name: str = name, **named: Any) -> Any:
            found.append(_name)
            return _real(*arguments, **named)

        monkeypatch.setattr(remembered, name, counted)
    return found


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    return path


def prepared(path: Path, *, seed: int = 13, **options: Any) -> Any:
    return prepare_once(DataOptions(train=path.name, **options), WANTED, base_folder=path.parent, seed=seed)


def test_the_same_bytes_are_prepared_once(tmp_path: Path, calls: list[str]) -> None:
    path = write(tmp_path / "rows.csv", ROWS)
    first = prepared(path)
    os.utime(path, (0, 0))  # another date, the same rows
    assert prepared(path) is first
    assert calls == ["prepare"]
    assert first == prepare(DataOptions(train=path.name), WANTED, base_folder=tmp_path, seed=13)


def test_a_changed_file_is_noticed_although_size_and_date_stay(tmp_path: Path, calls: list[str]) -> None:
    path = write(tmp_path / "rows.csv", ROWS)
    first, date = prepared(path), path.stat().st_mtime_ns
    write(path, [("where is my cash now", "card"), *ROWS[1:]])
    os.utime(path, ns=(date, date))
    second = prepared(path)
    assert second.files["rows.csv"]["bytes"] == first.files["rows.csv"]["bytes"]
    assert second.split_fingerprint != first.split_fingerprint
    assert calls == ["prepare", "prepare"]


def test_other_seeds_options_and_files_are_prepared_anew(tmp_path: Path, calls: list[str]) -> None:
    path, test = write(tmp_path / "rows.csv", ROWS), write(tmp_path / "test.csv", [("a card is lost", "card")])
    prepared(path)
    prepared(path, seed=14)
    prepared(path, deduplicate=False)
    prepared(path, test=test.name)
    assert calls == ["prepare"] * 4


def test_what_changes_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.csv", ROWS)

    def prepare_slowly(*arguments: Any, **named: Any) -> Any:
        found = prepare(*arguments, **named)
        write(path, ROWS[1:])
        return found

    monkeypatch.setattr(remembered, "prepare", prepare_slowly)
    prepared(path)
    assert not remembered._known


def test_only_the_latest_few_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", ROWS)
    kept = [prepared(path, seed=seed) for seed in range(KEPT + 2)]
    assert len(remembered._known) == KEPT
    assert list(remembered._known.values()) == kept[2:]


def test_files_that_are_too_large_are_not_remembered(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.csv", ROWS)
    monkeypatch.setattr(remembered, "LIMIT_BYTES", path.stat().st_size - 1)
    prepared(path)
    prepared(path)
    assert calls == ["prepare", "prepare"]
    assert not remembered._known


def test_an_error_comes_every_time(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataReadError, match=r"absent\.csv"):
            prepared(tmp_path / "absent.csv")


def test_a_file_is_inspected_once_under_each_name(tmp_path: Path, calls: list[str]) -> None:
    path = write(tmp_path / "rows.csv", ROWS)
    options = DataOptions(train=path.name)
    assert inspect_once(path, options, name="rows.csv") is inspect_once(path, options, name="rows.csv")
    assert inspect_once(path, options, name="other").name == "other"
    assert calls == ["inspect_source", "inspect_source"]
