"""Every reader survives arbitrary bytes, and what a standard writer wrote comes back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from burnish.data.options import DataOptions, Format
from burnish.data.source import Record, inspect_source, read_source
from burnish.errors import BurnishError
from burnish.types import Problem

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
CHUNKS = st.sampled_from(
    [
        *(b'"', b'""', b",", b"\t", b";", b"\n", b"\r", b"\r\n", b"text,label\n", b"a,b\n"),
        *(b"{", b"}", b"[", b'{"text": "a"}', b"\\", b"\\ud800", b"NaN", b"1e999"),
        *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", "é".encode(), b"\xe9", b"x" * 1100),
    ]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties") / "rows"


def read(path: Path, content: bytes, options: DataOptions) -> list[Record | Problem]:
    path.write_bytes(content)
    return list(read_source(path, inspect_source(path, options), options))


def read_or_error(path: Path, content: bytes, options: DataOptions) -> list[Record | Problem] | BurnishError:
    try:
        return read(path, content, options)
    except BurnishError as error:
        return error


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=300) | st.lists(CHUNKS, max_size=40).map(b"".join),
    file_format=st.sampled_from(["csv", "tsv", "jsonl", None]),
    header=st.sampled_from([True, False, None]),
)
@example(content=b'a,b\n"\n', file_format="csv", header=True)
@example(content=b"{}\n", file_format=None, header=None)
def test_arbitrary_bytes_give_rows_or_a_coded_error(
    path: Path, content: bytes, file_format: Format | None, header: bool | None
) -> None:
    options = DataOptions(train="rows", format=file_format, header=header, max_row_bytes=1024)
    items = read_or_error(path, content, options)
    if isinstance(items, BurnishError):
        assert items.code.startswith("data/")
        assert items.where
        assert all(line.isprintable() for line in str(items).split("\n"))
        return
    lines = [item.origin.line for item in items]
    assert lines == sorted(set(lines))
    assert all(1 <= line <= content.count(b"\n") + content.count(b"\r") + 1 for line in lines)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20), st.sampled_from(["\n", "\r\n"]))
def test_what_the_csv_module_writes_is_read_back(path: Path, rows: list[tuple[str, str]], ending: str) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    items = read(path, written.getvalue().encode(), DataOptions(train="rows", format="csv", header=True))
    expected = [row for row in rows if row != ("text", "label")]
    assert [tuple(item.values.values()) for item in items if isinstance(item, Record)] == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(CELLS, st.integers() | CELLS | st.none() | st.booleans()), min_size=1), st.booleans())
def test_what_the_json_module_writes_is_read_back(path: Path, rows: list[dict[str, object]], ascii_only: bool) -> None:
    content = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    items = read(path, content.encode(), DataOptions(train="rows", format="jsonl"))
    assert [item.values for item in items if isinstance(item, Record)] == rows
