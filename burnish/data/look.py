"""A look at a file's columns and sample: which column is called so, and what kind of values it holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from burnish.data.known_names import plain_name
from burnish.data.records import Record

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_MOSTLY = 0.9  # share of the filled cells that must be of a kind; the rest are mistakes to report
_NATURAL_WORDS = 4  # words of a usual cell from which on a column is text and not names or codes
_SAMPLE_ROWS = 2000  # cells looked at per column


class Look:
    """The columns of a file and the first values of each.

    Args:
        tasks: what somebody said the rows are for; None: nobody did.
    """

    def __init__(self, columns: Sequence[str], sample: Sequence[Record], tasks: Sequence[str] | None = None) -> None:
        self.columns = tuple(columns)
        self.tasks = tasks
        self._by_name: dict[str, str] = {}
        for column in columns:
            self._by_name.setdefault(plain_name(column), column)
        self._sample = sample[:_SAMPLE_ROWS]

    def named(self, names: str) -> str | None:
        """The column that has one of these names, the first name first; names are separated by commas."""
        return next((self._by_name[name] for name in map(str.strip, names.split(",")) if name in self._by_name), None)

    def all_named(self, *names: str) -> list[str] | None:
        """A different column for each of the names, or None when one of them is missing."""
        found = [self.named(name) for name in names]
        columns = [column for column in found if column is not None]
        return columns if len(columns) == len(names) == len(set(columns)) else None

    def values(self, column: str) -> list[object]:
        """The column's filled cells in the sample."""
        cells = (record.values.get(column) for record in self._sample)
        return [cell for cell in cells if cell is not None and not (isinstance(cell, str) and not cell.strip())]

    def are(self, column: str, *kinds: type) -> bool:
        """Whether nearly all values are of these types."""
        values = self.values(column)
        return _mostly([isinstance(value, kinds) for value in values])

    def within(self, column: str, other: str) -> bool:
        """Whether nearly all of the column's texts stand in the other column's."""
        both = [(record.values.get(column), record.values.get(other)) for record in self._sample]
        return _mostly([str(part) in str(whole) for part, whole in both if part])

    def are_numbers(self, column: str) -> bool:
        """Whether nearly all values are numbers, also as text; truth values are none."""
        return _mostly([_is_number(value) for value in self.values(column)])

    def are_texts_ending(self, column: str, suffixes: tuple[str, ...]) -> bool:
        values = self.values(column)
        return _mostly([isinstance(value, str) and value.lower().endswith(suffixes) for value in values])

    def have_key(self, column: str, *keys: str) -> bool:
        """Whether nearly all values are objects with these keys, or lists that begin with one."""
        firsts = [value[0] if isinstance(value, list) and value else value for value in self.values(column)]
        return _mostly([isinstance(first, dict) and all(key in first for key in keys) for first in firsts])

    def measures(self, column: str) -> bool:
        """Whether a column holds numbers, and not a few whole ones, which are classes as well."""
        fractions = any("." in str(value).strip().removesuffix(".0") for value in self.values(column))
        return self.are_numbers(column) and (fractions or self.distinct(column) > 20)

    def distinct(self, column: str) -> int:
        return len({str(value) for value in self.values(column)})

    def repeats(self, column: str) -> bool:
        """Whether at least two different values occur twice or more on average: classes, not texts."""
        values = self.values(column)
        return 2 <= self.distinct(column) <= len(values) // 2

    def is_told_by(self, column: str, other: str) -> bool:
        """Whether a value of the other column that comes again brings the same value of this one, nearly always."""
        first: dict[str, object] = {}
        again = []
        for record in self._sample:
            key, value = str(record.values.get(other)), record.values.get(column)
            if key in first:
                again.append(first[key] == value)
            first.setdefault(key, value)
        return _mostly(again)

    def is_prose(self, column: str) -> bool:
        """Whether the usual value is a text of several words."""
        words = sorted(len(value.split()) if isinstance(value, str) else 0 for value in self.values(column))
        return bool(words) and words[len(words) // 2] >= _NATURAL_WORDS

    def separator(self, column: str) -> str | None:
        """What separates several labels in one cell: |, ; or a comma; None when nothing does.

        One that stands in at least a tenth of the cells, and cuts them into pieces that come again.
        """
        values = [value for value in self.values(column) if isinstance(value, str)]
        for mark in "|;,":
            cut = [value.split(mark) for value in values]
            pieces = Counter(piece.strip() for parts in cut for piece in parts)
            several = sum(len(parts) > 1 for parts in cut)
            if 10 * several >= len(values) > 0 and 2 * len(pieces) <= pieces.total():
                return mark
        return None


def _mostly(flags: list[bool]) -> bool:
    return bool(flags) and sum(flags) >= _MOSTLY * len(flags)


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)
