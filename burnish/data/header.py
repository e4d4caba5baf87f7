"""Whether the first row of a file names its columns. The first row is never eaten on a guess."""

from __future__ import annotations

import re
import statistics
from collections.abc import Collection, Sequence

from burnish.data.known_names import HEADINGS, plain_name
from burnish.errors import DataReadError, excerpt

_NAME = re.compile(r"[^\W\d][\w.:/()#&%-]*( [\w.:/()#&%-]+){0,3}")  # begins with a letter, at most four words
_PLACE_NAME = re.compile(r"column\d+")  # how the columns of a file without a header are called
_MAX_NAME_LENGTH = 40
_NUMBER = re.compile(r"[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?%?")


def detect_header(rows: Sequence[Sequence[str]], expected_names: Collection[str], name: str, first_line: int) -> bool:
    """Whether `rows[0]` is a header, judged by the rows after it.

    Args:
        rows: cells of the sample's rows, the first row of the file first, at least one.
        expected_names: column names the recipe mentions.
        name: the file, for messages.
        first_line: physical line of the first row.

    Raises:
        DataReadError: [data/header-unclear] when the rows do not tell.
    """
    first = rows[0]
    known = [plain_name(cell) in HEADINGS for cell in first]
    others = [row for row in rows[1:] if row != first or not any(known)]  # files joined into one repeat the header
    columns = [[row[i] for row in others if i < len(row)] for i in range(len(first))]
    if all(known) or any(cell.strip() in expected_names for cell in first):
        return True
    if expected_names and all(_PLACE_NAME.fullmatch(column) for column in expected_names):
        return False
    if any(_is_value(cell, column) for cell, column in zip(first, columns, strict=True)):
        return False
    if any(known) or (_looks_like_names(first) and any(map(_differs_in_kind, first, columns))):
        return True
    raise DataReadError(
        "data/header-unclear",
        f'cannot tell whether the first row names the columns: "{excerpt(" | ".join(first))}"',
        where=f"{name}:{first_line}",
        hint="it names the columns: `data: {header: true}`; it is a row like the others: `data: {header: false}`",
    )


def _is_value(cell: str, column: Sequence[str]) -> bool:
    """Whether a cell of the first row is a value of its column: one of a few that repeat, or a number among numbers."""
    if not cell.strip() or not column:
        return False
    if _is_number(cell):
        return all(map(_is_number, filter(None, column)))
    return cell in column and 2 * len(set(column)) <= len(column) + 2


def _looks_like_names(cells: Sequence[str]) -> bool:
    named = [cell.strip() for cell in cells]
    return len(set(named)) == len(named) and all(
        len(cell) <= _MAX_NAME_LENGTH and _NAME.fullmatch(cell) is not None for cell in named
    )


def _differs_in_kind(cell: str, column: Sequence[str]) -> bool:
    """Whether a name stands over numbers, or a short name over long texts that do not repeat it."""
    filled = [value for value in column if value.strip()]
    if not filled or cell in filled:
        return False
    if all(map(_is_number, filled)):
        return True
    typical = statistics.median(map(len, filled))
    return typical >= 20 and typical >= 3 * len(cell)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None
