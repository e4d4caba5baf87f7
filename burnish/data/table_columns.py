"""What each column of a table is: numbers, categories, dates, or nothing that a model should read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from burnish.data.known_names import plain_name
from burnish.data.options import TableOptions
from burnish.data.table import (
    DATE_PARTS,
    QUANTILES,
    Array,
    Category,
    Features,
    Number,
    Table,
    cell,
    date_of,
    date_part,
    number_of,
    word_of,
)
from burnish.errors import RecipeError, nearest

Kind = Literal["number", "category", "date"]

MOSTLY = 0.95  # share of the filled cells that make a column one of numbers, or of dates; the others count as missing
OWN_VALUES = 0.9  # share of different values from which on a column of words names its rows
FEW_ROWS = 20  # under this many rows different values do not make an identifier
SEEN_AT_LEAST = 3  # rows a category's value needs to be known; rarer ones teach what an unknown value means
MOST_VALUES = 254  # of one category: the most frequent ones
_ID_WORDS = ("id", "uuid", "guid", "key", "index", "row", "nr", "no", "number")


def fit_table(rows: Sequence[Features], options: TableOptions) -> Table:
    """What each column is, and what it holds, from the training rows alone.

    Raises:
        RecipeError: [recipe/unknown-table-column] for a name in the section `table` that no row has;
            [recipe/no-table-columns] when nothing is left to learn from.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    said = _said(options, columns)
    numbers: list[Number] = []
    categories: list[Category] = []
    left_out: dict[str, str] = {}
    missing: dict[str, int] = {}
    for column in columns:
        if column in options.drop:
            left_out[column] = "as table.drop says"
            continue
        cells = [cell(row.get(column)) for row in rows]
        kind = said.get(column) or kind_of(column, cells)
        if kind == "category":
            found = _category(column, cells)
            categories += [found] if found.values else []
            usable, lacking = bool(found.values), cells.count(None)
        elif kind in ("number", "date"):
            made, lacking = _numbers(column, cells, dates=kind == "date")
            numbers += made
            usable = bool(made)
        else:
            left_out[column] = kind
            continue
        if not usable:
            left_out[column] = "holds no two values that come often enough"
        elif lacking:
            missing[column] = lacking
    if not numbers and not categories:
        raise RecipeError(
            "recipe/no-table-columns",
            "no column is left to learn from",
            where="table",
            known=[f"{column} ({why})" for column, why in left_out.items()],
            hint="name the columns that tell something: `table: {categorical: [COLUMN]}`",
        )
    return Table(tuple(numbers), tuple(categories), left_out, missing)


def kind_of(column: str, cells: Sequence[float | str | None]) -> str:
    """ "number", "category" or "date"; otherwise why the column tells nothing, in words that follow its name."""
    filled = [value for value in cells if value is not None]
    if not filled:
        return "is empty"
    if len(set(filled)) == 1 and len(filled) == len(cells):
        return "holds one value only"
    found = [number_of(value) for value in filled]
    if _mostly(found):
        return "numbers the rows" if _numbers_rows(column, found, len(cells)) else "number"
    if _mostly([date_of(value) for value in filled]):
        return "date"
    if len(cells) >= FEW_ROWS and len(set(filled)) > OWN_VALUES * len(filled):
        return "has another value in nearly every row"
    return "category"


def _numbers_rows(column: str, found: Sequence[float | None], rows: int) -> bool:
    """Whether whole numbers that never repeat count the rows or name them."""
    values = [value for value in found if value is not None]
    if rows < FEW_ROWS or len(set(values)) < rows or not all(value.is_integer() for value in values):
        return False
    counted = max(values) - min(values) == rows - 1
    return counted or plain_name(column).split()[-1:] in [[word] for word in _ID_WORDS]


def _said(options: TableOptions, columns: Sequence[str]) -> dict[str, Kind]:
    """The kinds that the recipe settles."""
    named: Mapping[str, tuple[Iterable[str], Kind | None]] = {
        "numeric": (options.numeric, "number"),
        "categorical": (options.categorical, "category"),
        "dates": (options.dates, "date"),
        "drop": (options.drop, None),
    }
    said: dict[str, Kind] = {}
    for field, (names, kind) in named.items():
        for name in names:
            if name not in columns:
                close = nearest(name, columns)
                raise RecipeError(
                    "recipe/unknown-table-column",
                    f'no row has a column "{name}"',
                    where=f"table.{field}",
                    known=columns,
                    hint=f'did you mean "{close}"?' if close else "name a column of the file, not the target",
                )
            if kind is not None:
                said[name] = kind
    return said


def _category(column: str, cells: Sequence[float | str | None]) -> Category:
    counts = Counter(word_of(value) for value in cells if value is not None)
    usual = sorted(counts, key=lambda word: (-counts[word], word))[:MOST_VALUES]
    return Category(column, tuple(sorted(word for word in usual if counts[word] >= SEEN_AT_LEAST)))


def _numbers(column: str, cells: Sequence[float | str | None], *, dates: bool) -> tuple[list[Number], int]:
    """The column's number, or the parts of its dates, without those that are always the same; and missing cells."""
    made = []
    lacking = 0
    for part in DATE_PARTS if dates else (None,):
        found = [number_of(value) if part is None else date_part(value, part) for value in cells]
        values = np.array([value for value in found if value is not None])
        lacking = len(cells) - len(values)
        if len(values) and (values.min() < values.max() or (lacking and part is None)):
            made.append(Number(column, part, *_quantiles(values)))
    return made, lacking


def _quantiles(values: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Different quantiles of the values, and the share of the values below each, ties counted half."""
    ordered = np.sort(values)
    knots = np.unique(np.quantile(ordered, np.linspace(0, 1, QUANTILES), method="nearest"))
    below, up_to = (np.searchsorted(ordered, knots, side=side) for side in ("left", "right"))
    return tuple(knots.tolist()), tuple(((below + up_to) / (2 * len(ordered))).tolist())


def _mostly(found: Sequence[object]) -> bool:
    return sum(value is not None for value in found) >= MOSTLY * len(found)
