"""Rows are cut as RFC 4180 says, counted by physical lines, and never swallowed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from burnish.data.delimited import Cells, Dialect, rows
from burnish.data.lines import TextFile
from burnish.errors import DataReadError
from burnish.types import Problem

OpenText = Callable[..., TextFile]
Cut = Callable[..., list[Cells | Problem]]


@pytest.fixture
def cut(text_file: OpenText) -> Cut:
    def cut_content(
        content: str, delimiter: str = ",", *, quoted: bool = True, **options: int
    ) -> list[Cells | Problem]:
        file = text_file(content, **options)
        return list(rows(file.lines(), Dialect(delimiter, quoted), file))

    return cut_content


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("a,b", ["a", "b"]),
        ('"a,b",c', ["a,b", "c"]),
        ('"say ""hi""",c', ['say "hi"', "c"]),
        ('"",""', ["", ""]),
        ('"""",x', ['"', "x"]),
        ('a,"b",', ["a", "b", ""]),
        (',"a"', ["", "a"]),
        ('5" disk,"b"', ['5" disk', "b"]),  # a quote inside a cell without quotes is an ordinary character
        (' "a",b', [' "a"', "b"]),
    ],
)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_cells_of_one_line(cut: Cut, line: str, cells: list[str], ending: str) -> None:
    assert cut(line + ending + ("x,y\n" if ending else ""))[0] == (1, cells)


def test_a_row_is_on_the_line_of_its_first_character(cut: Cut) -> None:
    content = 'text,label\n"two\nlines",a\n\nnext,b\n"three\n\nlines","c\nd"\nlast,e\n'
    assert cut(content) == [
        (1, ["text", "label"]),
        (2, ["two\nlines", "a"]),
        (5, ["next", "b"]),
        (6, ["three\n\nlines", "c\nd"]),
        (10, ["last", "e"]),
    ]


def test_newlines_inside_cells_stay_as_they_are(cut: Cut) -> None:
    assert cut('"a\r\nb",c\r\nd,e\r\n') == [(1, ["a\r\nb", "c"]), (3, ["d", "e"])]
    assert cut("a\rb,c\nd,e") == [(1, ["a\rb", "c"]), (2, ["d", "e"])]
    assert cut('"a\rb",c\rd,e\r') == [(1, ["a\rb", "c"]), (3, ["d", "e"])]


def test_literal_quotes(cut: Cut) -> None:
    assert cut('"a\tb\nc"\t"d"\n', "\t", quoted=False) == [(1, ['"a', "b"]), (2, ['c"', '"d"'])]


def test_blank_lines_are_no_rows_but_empty_cells_are(cut: Cut) -> None:
    assert cut("a,b\n\n  \n,\n") == [(1, ["a", "b"]), (4, ["", ""])]
    assert cut("a\tb\n\t\n", "\t") == [(1, ["a", "b"]), (2, ["", ""])]


def test_text_after_a_closing_quote_is_a_problem_of_that_row(cut: Cut) -> None:
    _, problem, after = cut('a,b\nx,"he said "hi" to me"\nc,d\n')
    assert isinstance(problem, Problem)
    assert (problem.code, str(problem.origin)) == ("data/text-after-quote", "rows.csv:2")
    assert problem.reason.startswith("cell 2 goes on after its closing quote")
    assert problem.excerpt == 'x,"he said "hi" to me"'
    assert after == (3, ["c", "d"])


@pytest.mark.parametrize("content", ['a,b\nc,"open\nd,e\nf,g\n', 'a,b\nc,"open'])
def test_unterminated_quote_names_the_line_where_it_opened(cut: Cut, content: str) -> None:
    with pytest.raises(DataReadError, match="not closed before the file ends") as caught:
        cut(content)
    assert (caught.value.code, caught.value.where) == ("data/unterminated-quote", "rows.csv:2")
    assert caught.value.hint is not None
    assert "close the quote" in caught.value.hint


def test_unterminated_quote_in_a_later_line_of_a_row(cut: Cut) -> None:
    with pytest.raises(DataReadError) as caught:
        cut('"a\nb","open\nc\n')
    assert caught.value.where == "rows.csv:2"


def test_quote_that_closes_in_a_later_row_is_reported_as_open(cut: Cut) -> None:
    with pytest.raises(DataReadError, match="closes on line 4, inside a text") as caught:
        cut('a,b\nc,"open\nd,e\n"quoted",g\n')
    assert (caught.value.code, caught.value.where) == ("data/unterminated-quote", "rows.csv:2")


@pytest.mark.parametrize("rest", ["y" * 2000, "y" * 500 + "\n" + "y" * 600 + '",b'])
def test_a_row_over_many_lines_is_bounded(cut: Cut, rest: str) -> None:
    with pytest.raises(DataReadError, match="not closed within 1,024 bytes") as caught:
        cut(f'a,b\n"x\n{rest}\n', max_row_bytes=1024)
    assert (caught.value.code, caught.value.where) == ("data/unterminated-quote", "rows.csv:2")


def test_long_row_and_nul_byte_are_problems(cut: Cut) -> None:
    long, nul, quoted_nul, fine = cut("x" * 2000 + '\na\0,b\n"c\0",d\ne,f\n', max_row_bytes=1024)
    assert isinstance(long, Problem)
    assert isinstance(nul, Problem)
    assert isinstance(quoted_nul, Problem)
    assert (long.code, long.origin.line) == ("data/row-too-long", 1)
    assert (nul.code, nul.origin.line, nul.excerpt) == ("data/nul-byte", 2, "a\\x00,b")
    assert (quoted_nul.code, quoted_nul.origin.line) == ("data/nul-byte", 3)
    assert fine == (4, ["e", "f"])


def test_many_doubled_quotes_take_linear_time(cut: Cut) -> None:
    (row,) = cut('"' + '""' * 200_000 + '",b\n')
    assert row == (1, ['"' * 200_000, "b"])
