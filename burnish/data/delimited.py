"""Rows of CSV and TSV text: cells, quoting, and the line each row begins on."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from burnish.data.lines import Line, TextFile
from burnish.errors import DataReadError, excerpt
from burnish.types import Problem


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a row is cut into cells.

    Attributes:
        delimiter: one character between cells.
        quoted: True: a cell in double quotes may hold delimiters, newlines and doubled quotes; False: a quote is a
            character like any other.
    """

    delimiter: str
    quoted: bool


# Physical line of the row's first character, and its cells.
Cells = tuple[int, list[str]]


def rows(lines: Iterable[Line], dialect: Dialect, file: TextFile) -> Iterator[Cells | Problem]:
    """The rows of the lines; blank lines are passed over, rows that cannot be cut are a Problem each.

    Raises:
        DataReadError: [data/unterminated-quote] at the line where the quote opened.
    """
    remaining = iter(lines)
    delimiter, quoted = dialect.delimiter, dialect.quoted
    for number, text in remaining:
        if text is None:
            yield file.too_long(number)
            continue
        if quoted and '"' in text:
            row = _cut_one_line(text, delimiter) or _QuotedRow(number, text, remaining, delimiter, file).cut()
            if isinstance(row, Problem):
                yield row
                continue
            cells = row
        else:
            text = text.removesuffix("\r")
            if not text or (text.isspace() and delimiter not in text):
                continue
            cells = text.split(delimiter)
        if "\0" in "".join(cells):
            yield Problem("data/nul-byte", "the row holds a NUL byte", file.origin(number), excerpt=excerpt(text))
            continue
        yield number, cells


def _cut_one_line(text: str, delimiter: str) -> list[str] | None:
    """The cells of a row that ends on its line, cut by the csv module; None for every row it does not take as it is."""
    try:
        return next(csv.reader((text.removesuffix("\r"),), delimiter=delimiter, strict=True))
    except csv.Error:  # a quote is open or goes on, a carriage return, a cell over 128 KiB
        return None


class _QuotedRow:
    """One row with quotes in it; takes further lines while a quoted cell is open."""

    def __init__(self, number: int, text: str, remaining: Iterator[Line], delimiter: str, file: TextFile) -> None:
        self.first_line = number
        self.line = number
        self.remaining = remaining
        self.delimiter = delimiter
        self.file = file
        self.position = 0  # in self.text, the current physical line
        self.characters = 0  # of the lines before the current one
        self._take(text)

    def cut(self) -> list[str] | Problem:
        cells = []
        while True:
            if self.text.startswith('"', self.position):
                opened = self.line
                cells.append(self._quoted_cell())
                if not self._at_end_of_cell():
                    return self._text_after_quote(opened, len(cells))
            else:
                cells.append(self._plain_cell())
            if self.position == len(self.text):
                return cells
            self.position += 1  # past the delimiter

    def _take(self, text: str) -> None:
        self.ending = self.file.newline
        if text.endswith("\r"):
            text, self.ending = text[:-1], "\r\n"
        self.text = text

    def _plain_cell(self) -> str:
        end = self.text.find(self.delimiter, self.position)
        start, self.position = self.position, len(self.text) if end < 0 else end
        return self.text[start : self.position]

    def _quoted_cell(self) -> str:
        pieces, opened = [], self.line
        self.position += 1
        while True:
            end = self.text.find('"', self.position)
            if end < 0:
                pieces.append(self.text[self.position :])
                pieces.append(self.ending)
                self._next_line(opened)
                continue
            pieces.append(self.text[self.position : end])
            self.position = end + 1
            if not self.text.startswith('"', self.position):
                return "".join(pieces)
            pieces.append('"')
            self.position += 1

    def _next_line(self, opened: int) -> None:
        self.characters += len(self.text) + len(self.ending)
        following = next(self.remaining, None)
        if following is None:
            raise self._unterminated(opened, "a quote opened on this line is not closed before the file ends")
        self.line, text = following
        if text is None or self.characters + len(text) > self.file.max_row_bytes:
            limit = f"{self.file.max_row_bytes:,} bytes"
            raise self._unterminated(opened, f"a quote opened on this line is not closed within {limit}")
        self.position = 0
        self._take(text)

    def _at_end_of_cell(self) -> bool:
        return self.position == len(self.text) or self.text.startswith(self.delimiter, self.position)

    def _text_after_quote(self, opened: int, cell: int) -> Problem:
        if self.line > opened:  # a stray quote swallowed whole lines: more than this row is lost
            raise self._unterminated(opened, f"a quote opened on this line closes on line {self.line}, inside a text")
        return Problem(
            "data/text-after-quote",
            f"cell {cell} goes on after its closing quote; a quote inside a quoted cell is written twice",
            self.file.origin(self.first_line),
            excerpt=excerpt(self.text),
        )

    def _unterminated(self, opened: int, message: str) -> DataReadError:
        return DataReadError(
            "data/unterminated-quote",
            message,
            where=f"{self.file.name}:{opened}",
            hint="close the quote; a cell that begins with a quote is written in quotes, with its own quotes doubled",
        )
