"""A look at the beginning settles the shape; every row after it comes out as a record or as a Problem."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from burnish.data.delimited import Dialect
from burnish.data.source import Record, SourceShape
from burnish.errors import DataReadError
from burnish.types import Problem

Read = Callable[..., tuple[SourceShape, list[Record | Problem]]]


def values(items: list[Record | Problem]) -> list[dict[str, object]]:
    return [item.values for item in items if isinstance(item, Record)]


def places(items: list[Record | Problem]) -> list[str]:
    return [str(item.origin) for item in items]


def codes(items: list[Record | Problem]) -> list[str]:
    return [item.code for item in items if isinstance(item, Problem)]


def refused(read: Read, content: str, name: str = "rows.csv", **options: object) -> DataReadError:
    with pytest.raises(DataReadError) as caught:
        read(content, name, **options)
    return caught.value


def test_csv_with_header(read: Read) -> None:
    shape, items = read('text,label\n"hello,\nyou",a\nbye,b\n')
    assert (shape.format, shape.dialect, shape.header) == ("csv", Dialect(",", quoted=True), True)
    assert (shape.columns, shape.first_line) == (("text", "label"), 2)
    assert values(items) == [{"text": "hello,\nyou", "label": "a"}, {"text": "bye", "label": "b"}]
    assert places(items) == ["rows.csv:2", "rows.csv:4"]
    assert list(shape.sample) == items
    assert shape.describe() == 'rows.csv: CSV, delimiter ",", header on the first row; columns text, label'


def test_tsv_without_header_and_with_literal_quotes(read: Read) -> None:
    shape, items = read('ham\t"Hi\nspam\tWin" now\nham\tok "then"\n', "rows.tsv")
    assert (shape.format, shape.dialect, shape.header) == ("tsv", Dialect("\t", quoted=False), False)
    assert (shape.columns, shape.first_line) == (("column1", "column2"), 1)
    assert values(items)[0] == {"column1": "ham", "column2": '"Hi'}
    assert places(items) == ["rows.tsv:1", "rows.tsv:2", "rows.tsv:3"]
    assert shape.describe().startswith('rows.tsv: TSV, delimiter "tab", no header, quotes read literally')


def test_jsonl(read: Read) -> None:
    shape, items = read('{"text": "a", "label": 1}\n\n{"label": null, "more": [1]}\n', "rows.jsonl")
    assert (shape.format, shape.dialect, shape.header) == ("jsonl", None, True)
    assert shape.columns == ("text", "label", "more")
    assert values(items) == [{"text": "a", "label": 1}, {"label": None, "more": [1]}]
    assert places(items) == ["rows.jsonl:1", "rows.jsonl:3"]
    assert shape.describe() == "rows.jsonl: JSONL with the keys text, label, more"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "text;label\nx;y\n", "csv"),
        ("a.TSV", "text\tlabel\nx\ty\n", "tsv"),
        ("a.ndjson", '{"text": 1}\n', "jsonl"),
        ("a.txt", '\n {"text": 1}\n', "jsonl"),
        ("a.txt", "text\tlabel\nx\ty\n", "tsv"),
        ("a.data", "text|label\nx|y\n", "csv"),
        ("a.json", '[{"text": 1}]', "json"),
        ("a.json", '{"rows": [{"text": 1}]}', "json"),
        ("a.json", '{"text": 1}\n{"text": 2}\n', "jsonl"),
        ("a.data", '[ {"text": 1}]', "json"),
        ("a.data", "[x],y\n[z],y\n[z],w\n", "csv"),
        ("a.txt", "Once, there was\na king.\n", "text"),
        ("a.txt", "one line", "text"),
        ("a.md", "# One\ntwo\n", "markdown"),
        ("a.htm", "<p>one", "html"),
        ("a.conll", "Ann\tB-PER\n", "conll"),
    ],
)
def test_format_by_name_then_by_content(read: Read, name: str, content: str, expected: str) -> None:
    assert read(content, name, **({"header": False} if content.startswith("[x") else {}))[0].format == expected


def test_format_option_wins(read: Read) -> None:
    assert read('{"text": "a"}\n', "rows.csv", format="jsonl")[0].columns == ("text",)


def test_header_option_wins(read: Read) -> None:
    shape, items = read("text,label\nx,y\n", header=False)
    assert (shape.header, shape.columns, len(items)) == (False, ("column1", "column2"), 2)
    shape, items = read("hello,1\nyou,2\n", header=True)
    assert (shape.columns, len(items)) == (("hello", "1"), 1)


def test_unnamed_and_padded_header_cells(read: Read) -> None:
    assert read(",text , label\n0,a,b\n1,c,d\n")[0].columns == ("column1", "text", "label")


def test_ragged_rows_are_problems(read: Read) -> None:
    _, items = read("text,label\na\nb,c\nd,e,f\n")
    assert codes(items) == ["data/ragged-row", "data/ragged-row"]
    assert places(items) == ["rows.csv:2", "rows.csv:3", "rows.csv:4"]
    assert isinstance(items[2], Problem)
    assert items[2].reason == "the row has 3 cells where 2 are expected"
    assert items[2].excerpt == "d | e | f"


def test_headerless_file_is_as_wide_as_most_of_its_rows(read: Read) -> None:
    shape, items = read("a,x,1\nb,y\nc,x\nd,y\n", header=False)
    assert shape.columns == ("column1", "column2")
    assert codes(items) == ["data/ragged-row"]


def test_repeated_header_is_a_problem(read: Read) -> None:
    _, items = read("text,label\na,b\ntext,label\nc,b\n")
    assert codes(items) == ["data/repeated-header"]
    assert places(items)[1] == "rows.csv:3"


def test_duplicate_column_names(read: Read) -> None:
    error = refused(read, "text,label,text\na,b,c\n")
    assert (error.code, error.where) == ("data/duplicate-columns", "rows.csv:1")
    assert error.message == 'the header names "text" 2 times'
    assert error.hint is not None
    assert "data: {header: false}" in error.hint


@pytest.mark.parametrize("content", ["text,label\n", "\ntext,label"])
def test_header_only(read: Read, content: str) -> None:
    error = refused(read, content)
    assert error.code == "data/no-rows"
    assert error.where in ("rows.csv:1", "rows.csv:2")


def test_header_unclear_comes_through(read: Read) -> None:
    assert refused(read, "hello,greeting\nyou,pronoun\n").code == "data/header-unclear"


def test_jsonl_without_a_single_object(read: Read) -> None:
    error = refused(read, "{\n  'text': 1\n}\n", "rows.jsonl")
    assert (error.code, error.where) == ("data/bad-json", "rows.jsonl:1")


def test_first_row_that_cannot_be_cut(read: Read) -> None:
    error = refused(read, '"text"s,label\na,b\n')
    assert (error.code, error.where) == ("data/text-after-quote", "rows.csv:1")
    assert error.hint == "repair the row: it decides how the others are read"


def test_only_blank_lines_after_the_first_bytes(read: Read) -> None:
    assert refused(read, "\x0b\n\u2003\n").code == "data/empty-file"


def test_unterminated_quote_stops_reading(read: Read) -> None:
    error = refused(read, 'text,label\na,b\n"c,d\ne,f\n')
    assert (error.code, error.where) == ("data/unterminated-quote", "rows.csv:3")


def test_rows_after_the_sample_are_read_alike(read: Read) -> None:
    rows = [f'"text {i},\nwith ""two"" lines",{"ab"[i % 2]}\n' for i in range(12_000)]  # about 400 KiB
    shape, items = read("text,label\n" + "".join(rows))
    assert len(items) == 12_000
    assert 0 < len(shape.sample) < 12_000
    assert items[-1] == Record({"text": 'text 11999,\nwith "two" lines', "label": "b"}, items[-1].origin)
    assert items[-1].origin.line == 2 * 12_000
