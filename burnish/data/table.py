"""A table's columns as a model reads them: numbers, categories and dates, as they were found in the training rows.

What is learned from the training rows (quantiles, the values of each category) is kept with the model, so that rows
are read the same way in training, evaluation and serving.

Shapes: N rows, K numbers, M categories, Q quantiles.
"""

from __future__ import annotations

import datetime
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from burnish.data.known_names import plain_name
from burnish.data.options import TableOptions
from burnish.data.parts import moment
from burnish.data.records import RefusedRowError
from burnish.data.row_values import number
from burnish.errors import ModelError, RecipeError, nearest

Array = np.ndarray[Any, Any]
Features = Mapping[str, Any]  # column -> cell of one row, the target left out
Kind = Literal["number", "category", "date"]

MISSING_WORDS = frozenset(("", "na", "n/a", "nan", "null", "?"))  # how files write that nothing is known
MOSTLY = 0.95  # share of the filled cells that make a column one of numbers, or of dates; the others count as missing
OWN_VALUES = 0.9  # share of different values from which on a column of words names its rows
FEW_ROWS = 20  # under this many rows different values do not make an identifier
SEEN_AT_LEAST = 3  # rows a category's value needs to be known; rarer ones teach what an unknown value means
MOST_VALUES = 254  # of one category: the most frequent ones
QUANTILES = 201  # of a number's training values
UNKNOWN, MISSING, FIRST_VALUE = 0, 1, 2  # ids of a category
_ID_WORDS = ("id", "uuid", "guid", "key", "index", "row", "nr", "no", "number")
_DATE_PARTS: Mapping[str, Callable[[datetime.datetime], float]] = {
    "year": lambda d: d.year,
    "month": lambda d: d.month,
    "day": lambda d: d.day,
    "weekday": lambda d: d.weekday(),
    "hour": lambda d: d.hour,
    "days": lambda d: d.timestamp() / 86_400,  # since 1970
}


@dataclass(frozen=True, slots=True)
class Number:
    """A number of each row: a column's own, or a part of its date.

    Attributes:
        part: of a date, e.g. "weekday" (Monday is 0); None: the column holds numbers.
        knots: (Q,) rising, at most QUANTILES different quantiles of the training values.
        shares: (Q,) share of the training values below each knot, ties counted half.
    """

    column: str
    part: str | None
    knots: tuple[float, ...]
    shares: tuple[float, ...]

    def of(self, features: Features) -> float:
        """The row's number as it is written; not a number where it is missing."""
        value = cell(features.get(self.column))
        found = number_of(value) if self.part is None else _date_part(value, self.part)
        return math.nan if found is None else found


@dataclass(frozen=True, slots=True)
class Category:
    """A column of words.

    Attributes:
        values: known from the training rows, in the order of their ids; FIRST_VALUE is the first one's.
    """

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """How the rows of a table are read.

    Attributes:
        left_out: column -> why no model reads it.
        missing: column -> training rows whose cell is missing or of another kind than the column; none with 0 rows.
    """

    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]
    left_out: Mapping[str, str]
    missing: Mapping[str, int]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        named = [part.column for part in self.numbers] + [part.column for part in self.categories]
        return tuple(dict.fromkeys(named))

    def number_cells(self, rows: Sequence[Features]) -> Array:
        """(N, K) float64 as they are written; missing ones are not a number."""
        cells = [[part.of(row) for part in self.numbers] for row in rows]
        return np.array(cells, dtype=np.float64).reshape(len(rows), len(self.numbers))

    def category_ids(self, rows: Sequence[Features]) -> Array:
        """(N, M) int64: UNKNOWN, MISSING, or FIRST_VALUE and on."""
        places = [{value: i for i, value in enumerate(part.values, FIRST_VALUE)} for part in self.categories]
        ids = np.zeros((len(rows), len(places)), dtype=np.int64)
        for n, row in enumerate(rows):
            for m, (part, place) in enumerate(zip(self.categories, places, strict=True)):
                value = cell(row.get(part.column))
                ids[n, m] = MISSING if value is None else place.get(_word(value), UNKNOWN)
        return ids

    def scaled(self, numbers_NK: Array) -> Array:
        """(N, K) float64: the normal quantile of each number's share of the training values; 0 where it is missing.

        Source: Gorishniy et al. 2021, arXiv:2106.11959, section 4.4, which feeds networks such numbers.
        """
        from scipy.special import ndtri

        scaled_NK = np.zeros_like(numbers_NK)
        for k, part in enumerate(self.numbers):
            known = ~np.isnan(numbers_NK[:, k])
            share = np.interp(numbers_NK[known, k], part.knots, part.shares)
            scaled_NK[known, k] = ndtri(np.clip(share, 1 / (2 * QUANTILES), 1 - 1 / (2 * QUANTILES)))
        return scaled_NK

    def describe(self) -> str:
        """One sentence for the run's record."""
        kinds = f"{len(self.numbers)} numbers and {len(self.categories)} categories are read"
        gone = "; ".join(f'"{column}" {why}' for column, why in self.left_out.items())
        lacking = ", ".join(f'"{column}" {count:,}' for column, count in self.missing.items())
        return kinds + (f"; left out: {gone}" if gone else "") + (f"; missing cells: {lacking}" if lacking else "")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str) -> Table:
        """The table that `as_dict` described.

        Raises:
            ModelError: [model/bad-file] when something else stands there.
        """
        try:
            return cls(
                tuple(
                    Number(
                        str(part["column"]),
                        None if part["part"] is None else _known_part(part["part"]),
                        tuple(map(float, part["knots"])),
                        tuple(map(float, part["shares"])),
                    )
                    for part in content["numbers"]
                ),
                tuple(Category(str(part["column"]), tuple(map(str, part["values"]))) for part in content["categories"]),
                dict(content["left_out"]),
                dict(content["missing"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError("model/bad-file", f"not a table of burnish's: {error!r}", where=where) from error


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


def cell(value: object) -> float | str | None:
    """What a cell says: a number, a word without outer blanks, or None where nothing is known.

    >>> cell(" 12 "), cell("N/A"), cell(True), cell(3)
    ('12', None, 'true', 3.0)
    """
    if value is None:
        return None
    if isinstance(value, str):
        word = value.strip()
        return None if word.lower() in MISSING_WORDS else word
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_of(value)
    return json.dumps(value, sort_keys=True)


def number_of(value: object) -> float | None:
    """A finite number, also when it is written as a word; None for anything else."""
    try:
        return None if value is None else number(value, "cell")
    except RefusedRowError:
        return None


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
    if _mostly([_date(value) for value in filled]):
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
    counts = Counter(_word(value) for value in cells if value is not None)
    usual = sorted(counts, key=lambda word: (-counts[word], word))[:MOST_VALUES]
    return Category(column, tuple(sorted(word for word in usual if counts[word] >= SEEN_AT_LEAST)))


def _numbers(column: str, cells: Sequence[float | str | None], *, dates: bool) -> tuple[list[Number], int]:
    """The column's number, or the parts of its dates, without those that are always the same; and missing cells."""
    made = []
    lacking = 0
    for part in _DATE_PARTS if dates else (None,):
        found = [number_of(value) if part is None else _date_part(value, part) for value in cells]
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


def _date(value: float | str | None) -> datetime.datetime | None:
    found = moment(value) if isinstance(value, str) else None
    if found is None or found[0] != "date":
        return None
    return datetime.datetime.fromtimestamp(found[1], datetime.UTC)


def _date_part(value: float | str | None, part: str) -> float | None:
    date = _date(value)
    return None if date is None else float(_DATE_PARTS[part](date))


def _known_part(part: str) -> str:
    if part not in _DATE_PARTS:
        raise ValueError(f"{part} is no part of a date")
    return part


def _word(value: float | str) -> str:
    """A cell as the name of a category; whole numbers as a file of words writes them."""
    return value if isinstance(value, str) else f"{value:.15g}"


def _mostly(found: Sequence[object]) -> bool:
    return sum(value is not None for value in found) >= MOSTLY * len(found)
