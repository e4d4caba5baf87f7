"""A sentence per row; a line that does not fit costs its sentence and no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from burnish.data.records import Record, SourceShape
from burnish.errors import DataReadError
from burnish.types import Problem

Read = Callable[..., tuple[SourceShape, list[Record | Problem]]]


def values(items: list[Record | Problem]) -> list[dict[str, object]]:
    return [item.values for item in items if isinstance(item, Record)]


def test_tabs(read: Read) -> None:
    shape, items = read("# a comment\nAnn\tB-PER\nsees\tO\n\t\n\n#tag \tO\r\n \tO\n", "rows.conll")
    assert (shape.format, shape.columns) == ("conll", ("tokens", "tags"))
    assert shape.describe().startswith("rows.conll: CoNLL")
    assert values(items) == [
        {"tokens": ["Ann", "sees"], "tags": ["B-PER", "O"]},
        {"tokens": ["#tag", " "], "tags": ["O", "O"]},
    ]
    assert [item.origin.line for item in items] == [2, 6]


def test_blanks_and_four_columns(read: Read) -> None:
    _, items = read("-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n", "rows.conll")
    assert values(items) == [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}]


def test_a_bad_line_names_itself_and_drops_its_sentence(read: Read) -> None:
    _, items = read("a\tO\n\nb\tO\nc\n\nd\tO\ne\0\tO\n\nf\tO\n", "rows.conll")
    problems = [item for item in items if isinstance(item, Problem)]
    assert [(p.code, p.origin.line) for p in problems] == [("data/ragged-row", 4), ("data/nul-byte", 7)]
    assert "1 columns where 2 are expected" in problems[0].reason
    assert [row["tokens"] for row in values(items)] == [["a"], ["f"]]


def test_one_column_is_no_conll(read: Read) -> None:
    with pytest.raises(DataReadError) as caught:
        read("a\nb\n\nc\n", "rows.conll")
    assert (caught.value.code, caught.value.where) == ("data/ragged-row", "rows.conll:1")


def test_a_sentence_without_end_is_bounded(read: Read) -> None:
    _, items = read("a\tO\n\n" + "b\tO\n" * 400_000 + "\nc\tO\n", "rows.conll", max_row_bytes=2048)
    assert [getattr(item, "code", None) for item in items] == [None, "data/row-too-long", None]
    assert items[1].origin.line == 3


def test_a_sentence_cut_by_the_end_of_the_sample_is_whole(read: Read) -> None:
    shape, items = read(("word\tO\n" * 40 + "\n") * 2000, "rows.conll")
    assert {len(row["tokens"]) for row in values(list(shape.sample)) + values(items)} == {40}  # type: ignore[arg-type]
    assert len(items) == 2000
