"""What every reader gives: the shape of a file, and its rows one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from burnish.data.delimited import Dialect
from burnish.data.options import Format
from burnish.errors import DataReadError, excerpt
from burnish.types import Origin, Problem


@dataclass(frozen=True, slots=True)
class Record:
    """One row as the file has it: column of the file -> cell (str) or JSON value."""

    values: dict[str, object]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceShape:
    """What a look at the beginning of a file tells.

    Attributes:
        name: the file as the user wrote it, for messages and origins.
        format: how the rows are written.
        dialect: how lines are cut into cells; None for formats without cells.
        header: whether the first row names the columns; True for formats whose rows name their values.
        columns: names in file order; column1, column2... without a header; for JSON the keys of the sample.
        first_line: physical line from which on rows are data; for Parquet and Arrow, whose lines are rows, 1.
        sample: the sample's records, in file order, refused rows left out.
    """

    name: str
    format: Format
    dialect: Dialect | None
    header: bool
    columns: tuple[str, ...]
    first_line: int
    sample: tuple[Record, ...]

    def describe(self) -> str:
        """One sentence for people: what was recognised."""
        names = ", ".join(map(excerpt, self.columns))
        if self.format not in ("csv", "tsv") or self.dialect is None:
            return f"{self.name}: {_DESCRIBED[self.format]} {names}"
        delimiter = {"\t": "tab"}.get(self.dialect.delimiter, self.dialect.delimiter)
        header = "header on the first row" if self.header else "no header"
        quotes = "" if self.dialect.quoted else ", quotes read literally"
        return f'{self.name}: {self.format.upper()}, delimiter "{delimiter}", {header}{quotes}; columns {names}'


_DESCRIBED: dict[Format, str] = {
    "csv": "CSV with the columns",
    "tsv": "TSV with the columns",
    "jsonl": "JSONL with the keys",
    "json": "a JSON array of objects with the keys",
    "parquet": "Parquet with the columns",
    "arrow": "Arrow with the columns",
    "conll": "CoNLL, one token a line, a blank line after each sentence; a row per sentence with",
    "text": "plain text, a row per paragraph, with",
    "markdown": "Markdown, a row per section, with",
    "html": "HTML, a row per section, with",
    "image-folder": "a folder of images, one folder per class, with",
}


def shape_of_records(
    name: str, file_format: Format, items: Sequence[Record | Problem], *, dialect: Dialect | None = None
) -> SourceShape:
    """The shape of a file whose rows name their own values.

    Raises:
        DataReadError: [data/empty-file] without a row, or the code of the first row when none can be read.
    """
    sample = tuple(item for item in items if isinstance(item, Record))
    if not sample:
        raise unreadable_start(name, items)
    return SourceShape(
        name=name,
        format=file_format,
        dialect=dialect,
        header=True,
        columns=tuple(dict.fromkeys(key for record in sample for key in record.values)),
        first_line=sample[0].origin.line,
        sample=sample,
    )


def unreadable_start(name: str, items: Sequence[object]) -> DataReadError:
    """The error for a file whose first rows cannot be read."""
    first = next((item for item in items if isinstance(item, Problem)), None)
    if first is None:
        return DataReadError("data/empty-file", "holds no rows", where=name)
    return DataReadError(
        first.code, first.reason, where=str(first.origin), hint="repair the row: it decides how the others are read"
    )


class RefusedRowError(ValueError):
    """A row that is not what its format promises: a code and a reason for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
