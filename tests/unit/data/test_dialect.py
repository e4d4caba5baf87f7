"""Delimiter and quoting are decided by looking, and one broken row does not change the decision."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from burnish.data.delimited import Dialect
from burnish.data.dialect import ANY_DELIMITER, detect_dialect
from burnish.data.lines import TextFile

OpenText = Callable[..., TextFile]
Detect = Callable[..., Dialect]


@pytest.fixture
def detect(text_file: OpenText) -> Detect:
    def detect_in(content: str, delimiters: tuple[str, ...] = ANY_DELIMITER) -> Dialect:
        file = text_file(content)
        return detect_dialect(list(file.lines()), file, delimiters)

    return detect_in


@pytest.mark.parametrize("delimiter", ANY_DELIMITER)
def test_delimiter(detect: Detect, delimiter: str) -> None:
    other = ";" if delimiter == "," else ","
    content = f"text{delimiter}label\nhello{other} you{delimiter}a\nwell{other} well{other} me{delimiter}b\n"
    assert detect(content).delimiter == delimiter


def test_delimiter_inside_quotes_does_not_count(detect: Detect) -> None:
    assert detect('text;label\n"a, b; c";x\n"d, e";y\n') == Dialect(";", quoted=True)


def test_some_ragged_rows_do_not_hide_the_delimiter(detect: Detect) -> None:
    assert detect("text,label\na,b\nc\nd,e\nf,g,h\ni,j\n").delimiter == ","


def test_one_column_falls_back_to_the_first_delimiter(detect: Detect) -> None:
    assert detect("text\nhello\n").delimiter == ","


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        ("a\tb\nc\td\n", False),  # no quotes in sight
        ('say "hi" now\tx\nfine\ty\n', False),
        ('"Great\tx\nfilm" she said\ty\n', False),  # as quoting: one row over two lines
        ('"Have a nice day"\tx\nfine\ty\n', False),  # one cell in quotes is no convention
        ('"say ""hi"""\tx\nfine\ty\n', True),  # a doubled quote is
        ('t\tl\n"a"\tx\n"b"\ty\n', True),  # so is a column that is quoted throughout
        ('h\tl\n"a\tb"\tx\n"c\td"\ty\n', True),  # without quoting the rows are ragged
        ('h\tl\n"two\nlines"\tx\n', True),
    ],
)
def test_quoting_in_tab_separated_text(detect: Detect, content: str, quoted: bool) -> None:
    assert detect(content, ("\t",)) == Dialect("\t", quoted)


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        ("a,b\nc,d\n", True),  # quotes may come later
        ('a,b\n"c,d",e\n', True),
        ('a,b\n"open,x\nc,d\ne,f\n', True),  # one open quote is a mistake to report
        ('t,l\n"A" is,x\n"B" was,y\n"C" has,z\n"D" had,w\n', False),
        ('t,l\n"A,x\n"B,y\n"C,z\n', False),
        ('t,l\n"A" is,x\n"B",y\n"C",z\n"D, E",w\n', True),  # three proper cells, one broken
    ],
)
def test_quoting_in_comma_separated_text(detect: Detect, content: str, quoted: bool) -> None:
    assert detect(content) == Dialect(",", quoted)


def test_a_cell_cut_by_the_end_of_the_sample_does_not_change_the_decision(text_file: OpenText) -> None:
    file = text_file("text,label\n" + '"first line,\nsecond ""line"", third,\nfourth line",a\n' * 200)
    lines = list(file.lines())[:-2]
    assert detect_dialect(lines, file) == Dialect(",", quoted=True)
