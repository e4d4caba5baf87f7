"""JSON arrays are cut into elements without holding them all; each element is as strict as a line of JSONL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from burnish.data.options import DataOptions
from burnish.data.records import Record, SourceShape
from burnish.data.source import inspect_source, read_source
from burnish.errors import BurnishError, DataReadError
from burnish.types import Problem

Read = Callable[..., tuple[SourceShape, list[Record | Problem]]]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)


def values(items: list[Record | Problem]) -> list[dict[str, object]]:
    return [item.values for item in items if isinstance(item, Record)]


def refused(read: Read, content: str, **options: object) -> DataReadError:
    with pytest.raises(DataReadError) as caught:
        read(content, "rows.json", **options)
    return caught.value


def test_elements_and_their_lines(read: Read) -> None:
    shape, items = read('[\n{"text": "a]}"},\n\n  {"text": "b\\"",\n "tags": [1, {"x": "]"}]}\n]\n', "rows.json")
    assert (shape.format, shape.columns) == ("json", ("text", "tags"))
    assert shape.describe() == "rows.json: a JSON array of objects with the keys text, tags"
    assert values(items) == [{"text": "a]}"}, {"text": 'b"', "tags": [1, {"x": "]"}]}]
    assert [item.origin.line for item in items] == [2, 4]


def test_an_object_that_holds_the_array(read: Read) -> None:
    content = '{"version": 1.5, "labels": ["a", "b"], "empty": [],\n"rows": [{"text": "a"}],\n"by": {"name": "x"}}'
    assert values(read(content, "rows.json")[1]) == [{"text": "a"}]


def test_elements_that_are_no_rows_are_problems(read: Read) -> None:
    _, items = read('[{"a": 1}, 5,\n"x", [1], {"a": NaN}, {"a": 1, "a": 2}, {"a": tru}, {"a": 3}]', "rows.json")
    assert [item.code for item in items if isinstance(item, Problem)] == [
        *("data/not-an-object", "data/not-an-object", "data/not-an-object"),
        *("data/bad-number", "data/duplicate-key", "data/bad-json"),
    ]
    assert values(items) == [{"a": 1}, {"a": 3}]


@pytest.mark.parametrize(
    ("content", "code", "line", "said"),
    [
        ('[{"a": 1}\n{"a": 2}]', "data/bad-json", 2, "a comma or ] is missing"),
        ('[{"a": 1},\n]', "data/bad-json", 2, "a value is missing"),
        ('[{"a": 1},', "data/bad-json", 1, "a value is missing"),
        ('[{"a": 1}', "data/bad-json", 1, "ends before its array does"),
        ('[\n{"a": [1}, {"a": 2}]', "data/bad-json", 2, "} closes what it did not open"),
        ('[\n{"a": "x}, {"a": 2}]', "data/bad-json", 2, "not closed"),
        ('[{"a": 1}]\n x', "data/bad-json", 2, "behind the end"),
        ("[" * 100_000, "data/bad-json", 1, "not closed"),
        ('{"a": 1,\n"b" 2}', "data/bad-json", 2, "a colon is missing"),
        ('{"a": 1,\n b: 2}', "data/bad-json", 2, "a key in double quotes"),
        ('{"a": 1', "data/bad-json", 1, "ends before its object does"),
        ('{"a": NaN, "rows": [{}]}', "data/bad-number", 1, "NaN"),
        ('{"a": 1}', "data/unknown-format", 1, "without an array of objects"),
        ('{"a": [{}],\n"b": [{}]}', "data/unknown-format", 2, 'two arrays of rows, "a" and "b"'),
        ("[]", "data/empty-file", None, "no rows"),
        ("nothing", "data/bad-json", 1, "neither [ nor {"),
    ],
)
def test_what_cannot_be_told_apart_ends_the_reading(read: Read, content: str, code: str, line: int, said: str) -> None:
    error = refused(read, content, format="json")
    assert (error.code, error.where) == (code, f"rows.json:{line}" if line else "rows.json")
    assert said in error.message


def test_an_element_longer_than_a_row_may_be(read: Read) -> None:
    error = refused(read, '[{"a": 1},\n{"a": "' + "x" * 600_000 + '"}]', max_row_bytes=1024)
    assert (error.code, error.where) == ("data/row-too-long", "rows.json:2")
    assert error.hint is not None
    assert "max_row_bytes" in error.hint


def test_deep_elements_are_problems(read: Read) -> None:
    _, items = read('[{"a": 1}, {"a": ' + "[" * 99_999 + "]" * 99_999 + "}]", "rows.json")
    assert [item.code for item in items if isinstance(item, Problem)] == ["data/too-deep"]


def test_elements_across_chunks(read: Read) -> None:
    rows = [{"text": f'{i} "quoted" [x] ' + "é" * (i % 50), "n": [i, {"m": None}] if i % 3 else i} for i in range(9000)]
    for indent in (None, 1):
        items = read(json.dumps(rows, ensure_ascii=False, indent=indent), "rows.json")[1]
        assert values(items) == rows
    assert items[-1].origin.line > 9000


def test_wrong_encoding_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b'[{"a": 1},\n{"a": "caf\xe9"}]')
    with pytest.raises(DataReadError) as caught:
        inspect_source(path, DataOptions(train="rows.json"), name="rows.json")
    assert (caught.value.code, caught.value.where) == ("data/wrong-encoding", "rows.json:2")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json") / "rows.json"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.text("ab", max_size=2), VALUES), min_size=1), st.sampled_from([None, 0, 2]))
def test_what_the_json_module_writes_is_read_back(path: Path, rows: list[dict[str, object]], indent: int) -> None:
    path.write_text(json.dumps(rows, indent=indent), encoding="utf-8")
    options = DataOptions(train="rows.json")
    assert values(list(read_source(path, inspect_source(path, options), options))) == rows


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*'[]{}",:\\ \n', "1", "true", '"a":', '{"a":1}', "\\u00e9"]), max_size=30))
@example(['[{"a":1}', "\\"])
def test_arbitrary_marks_agree_with_the_json_module(path: Path, marks: list[str]) -> None:
    """What we read without a problem is what the json module reads; where it fails, so do we."""
    content = "[" + "".join(marks)
    path.write_text(content, encoding="utf-8")
    options = DataOptions(train="rows.json", format="json")
    try:
        items = list(read_source(path, inspect_source(path, options), options))
    except BurnishError:
        items = []
    try:
        whole = json.loads(content)
    except ValueError:
        assert not items or any(isinstance(item, Problem) for item in items)
    else:
        assert values(items) in ([], [item for item in whole if isinstance(item, dict)])
