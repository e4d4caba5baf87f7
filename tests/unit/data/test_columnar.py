"""Parquet and Arrow rows come out as JSON values; damage is an error that names the row, never a crash."""

from __future__ import annotations

import datetime
import decimal
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.data.options import DataOptions
from burnish.data.records import Record, SourceShape
from burnish.data.source import inspect_source, read_source
from burnish.errors import BurnishError, DataReadError
from burnish.types import Problem

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
feather = pytest.importorskip("pyarrow.feather")


def as_parquet(table: Any, path: Path) -> None:
    pq.write_table(table, path)


def as_feather(table: Any, path: Path) -> None:
    feather.write_feather(table, str(path))


def as_stream(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


WRITERS = {"parquet": as_parquet, "arrow": as_feather, "stream.arrow": as_stream}
Write = Callable[[Any, Path], None]


def read(path: Path, **options: Any) -> tuple[SourceShape, list[Record | Problem]]:
    settings = DataOptions(train=path.name, **options)
    shape = inspect_source(path, settings, name=path.name)
    return shape, list(read_source(path, shape, settings))


def refused(path: Path, **options: Any) -> DataReadError:
    with pytest.raises(DataReadError) as caught:
        read(path, **options)
    return caught.value


@pytest.mark.parametrize("suffix", WRITERS)
def test_rows_and_their_numbers(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"text": [f"text {i % 7}" for i in range(3000)], "label": [i % 3 for i in range(3000)]})
    path = tmp_path / f"rows.{suffix}"
    WRITERS[suffix](table, path)
    shape, items = read(path)
    assert (shape.format, shape.columns) == ("parquet" if suffix == "parquet" else "arrow", ("text", "label"))
    assert len(shape.sample) == 1000
    assert [item.values for item in items if isinstance(item, Record)] == table.to_pylist()
    assert [item.origin.line for item in items] == list(range(1, 3001))


@pytest.mark.parametrize("suffix", WRITERS)
def test_values_are_those_of_json(tmp_path: Path, suffix: str) -> None:
    columns = {
        "text": pa.array(["a", None]),
        "float": pa.array([1.5, float("nan")]),
        "when": pa.array([datetime.datetime(2024, 1, 2, 3), None]),
        "nano": pa.array([1, 1_000_000_001], pa.timestamp("ns")),
        "day": pa.array([datetime.date(2024, 1, 2), None]),
        "price": pa.array([decimal.Decimal("1.25"), None]),
        "turns": pa.array([[{"role": "user", "content": "hi"}], []]),
        "bytes": pa.array([b"text", b"\xff\xd8\xff"]),
        "category": pa.array(["x", "x"]).dictionary_encode(),
    }
    path = tmp_path / f"rows.{suffix}"
    WRITERS[suffix](pa.table(columns), path)
    first, second = (item.values for item in read(path)[1] if isinstance(item, Record))
    assert first == {
        "text": "a",
        "float": 1.5,
        "when": "2024-01-02T03:00:00",
        "nano": "1970-01-01T00:00:00",
        "day": "2024-01-02",
        "price": 1.25,
        "turns": [{"role": "user", "content": "hi"}],
        "bytes": "text",
        "category": "x",
    }
    assert (second["text"], second["float"], second["bytes"]) == (None, None, "data:;base64,/9j/")


def test_infinite_numbers_are_problems(tmp_path: Path) -> None:
    as_parquet(pa.table({"score": [1.0, float("inf")]}), tmp_path / "rows.parquet")
    _, items = read(tmp_path / "rows.parquet")
    assert isinstance(items[1], Problem)
    assert (items[1].code, str(items[1].origin), items[1].column) == ("data/bad-number", "rows.parquet:2", "score")


@pytest.mark.parametrize("suffix", WRITERS)
def test_no_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    WRITERS[suffix](pa.table({"text": pa.array([], pa.string())}), path)
    error = refused(path)
    assert (error.code, error.where) == ("data/no-rows", f"{path.name}:1")


def test_columns_of_one_name(tmp_path: Path) -> None:
    as_parquet(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "rows.parquet")
    assert refused(tmp_path / "rows.parquet").code == "data/duplicate-columns"


@pytest.mark.parametrize("suffix", WRITERS)
def test_cut_off_and_corrupted_files_are_refused(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"text": [f"text {i}" for i in range(2000)], "turns": [[{"a": "b"}]] * 2000})
    path, draw = tmp_path / f"rows.{suffix}", random.Random(1)
    WRITERS[suffix](table, path)
    whole = path.read_bytes()
    for i in range(60):
        broken = bytearray(whole[: draw.randrange(12, len(whole))] if i % 2 else whole)
        for _ in range(draw.randrange(1, 30)):
            broken[draw.randrange(8, len(broken))] = draw.randrange(256)
        path.write_bytes(broken)
        error = _error_of(path)
        assert error is None or (error.code.startswith("data/") and str(error).startswith(path.name))


def _error_of(path: Path) -> BurnishError | None:
    """What reading ends with; some damage leaves other, readable values."""
    try:
        read(path)
    except BurnishError as error:
        return error
    return None


def test_other_bytes_under_the_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"text,label\na,b\n")
    error = refused(path)
    assert (error.code, error.message) == ("data/damaged-file", "does not begin like Parquet")
    assert refused(path, format="arrow").message == "does not begin like Arrow"


def test_parquet_that_expands_without_end(tmp_path: Path) -> None:
    as_parquet(pa.table({"n": pa.array([0] * 2_000_000, pa.int64())}), tmp_path / "long.parquet")
    assert next(iter(read_source(tmp_path / "long.parquet", *_shape(tmp_path / "long.parquet")))).origin.line == 1
    pq.write_table(
        pa.table({"text": ["x" * 90_000_000]}), tmp_path / "bomb.parquet", use_dictionary=False, compression="zstd"
    )
    error = refused(tmp_path / "bomb.parquet")
    assert (error.code, "100 times its size" in error.message) == ("data/damaged-file", True)


def test_a_long_text_repeated(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), ["x" * 1_000_000])
    as_parquet(pa.table({"text": text}), tmp_path / "rows.parquet")
    error = refused(tmp_path / "rows.parquet")
    assert (error.code, error.where) == ("data/damaged-file", "rows.parquet:1")
    assert "its texts expand" in error.message


def test_rows_longer_than_a_row_may_be(tmp_path: Path) -> None:
    as_parquet(pa.table({"text": ["a", "x" * 2000, "b"]}), tmp_path / "rows.parquet")
    _, items = read(tmp_path / "rows.parquet", max_row_bytes=1024)
    assert [getattr(item, "code", None) for item in items] == [None, "data/row-too-long", None]


def _shape(path: Path) -> tuple[SourceShape, DataOptions]:
    options = DataOptions(train=path.name)
    return inspect_source(path, options), options


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_parquet(pa.table({"text": ["a"]}), tmp_path / "rows.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = refused(tmp_path / "rows.parquet")
    assert (error.code, error.hint) == ("data/needs-package", "pip install 'burnish[parquet]'")
