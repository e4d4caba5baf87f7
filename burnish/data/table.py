"""A table's columns as a model reads them: numbers, categories and dates, as they were found in the training rows.

What is learned from the training rows (quantiles, the values of each category) is kept with the model, so that rows
are read the same way in training, evaluation and serving.

Shapes: N rows, K numbers, M categories, Q quantiles.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from burnish.data.parts import moment
from burnish.data.records import RefusedRowError
from burnish.data.row_values import number
from burnish.errors import ModelError

Array = np.ndarray[Any, Any]
Features = Mapping[str, Any]  # column -> cell of one row, the target left out

MISSING_WORDS = frozenset(("", "na", "n/a", "nan", "null", "?"))  # how files write that nothing is known
QUANTILES = 201  # of a number's training values
UNKNOWN, MISSING, FIRST_VALUE = 0, 1, 2  # ids of a category
DATE_PARTS: Mapping[str, Callable[[datetime.datetime], float]] = {
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
        found = number_of(value) if self.part is None else date_part(value, self.part)
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
                ids[n, m] = MISSING if value is None else place.get(word_of(value), UNKNOWN)
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


def date_of(value: float | str | None) -> datetime.datetime | None:
    found = moment(value) if isinstance(value, str) else None
    if found is None or found[0] != "date":
        return None
    return datetime.datetime.fromtimestamp(found[1], datetime.UTC)


def date_part(value: float | str | None, part: str) -> float | None:
    date = date_of(value)
    return None if date is None else float(DATE_PARTS[part](date))


def _known_part(part: str) -> str:
    if part not in DATE_PARTS:
        raise ValueError(f"{part} is no part of a date")
    return part


def word_of(value: float | str) -> str:
    """A cell as the name of a category; whole numbers as a file of words writes them."""
    return value if isinstance(value, str) else f"{value:.15g}"
