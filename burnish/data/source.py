"""Streaming readers of CSV, TSV and JSONL files: look at the beginning, then give record after record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from burnish.data.delimited import Cells, Dialect, rows
from burnish.data.dialect import ANY_DELIMITER, detect_dialect
from burnish.data.header import detect_header
from burnish.data.jsonl import objects
from burnish.data.lines import SAMPLE_BYTES, Line, TextFile, open_text_file
from burnish.data.options import DataOptions, Format
from burnish.errors import DataReadError, excerpt
from burnish.types import Origin, Problem

_FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One row as the file has it: column of the file -> cell (str) or JSON value."""

    values: dict[str, object]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceShape:
    """What a look at the first 256 KiB of a file tells.

    Attributes:
        name: the file as the user wrote it, for messages and origins.
        format: csv, tsv or jsonl.
        dialect: delimiter and quoting; None for JSONL.
        header: whether the first row names the columns; True for JSONL, whose keys do.
        columns: names in file order; column1, column2... without a header; for JSONL the keys of the sample.
        first_line: physical line from which on rows are data.
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
        if self.dialect is None:
            return f"{self.name}: JSONL with the keys {names}"
        delimiter = {"\t": "tab"}.get(self.dialect.delimiter, self.dialect.delimiter)
        header = "header on the first row" if self.header else "no header"
        quotes = "" if self.dialect.quoted else ", quotes read literally"
        return f'{self.name}: {self.format.upper()}, delimiter "{delimiter}", {header}{quotes}; columns {names}'


def inspect_source(path: Path, options: DataOptions, *, name: str | None = None) -> SourceShape:
    """The shape of a file, from its first 256 KiB.

    Args:
        path: where the file is.
        options: format, header and encoding, where the user has set them.
        name: the path as the user wrote it; None: `path` itself.

    Raises:
        DataReadError: every code of `open_text_file`, and [data/no-rows], [data/header-unclear],
            [data/duplicate-columns], [data/unknown-format], [data/unterminated-quote], or the code of a first row
            that cannot be read.
    """
    file = open_text_file(path, name or str(path), options)
    lines = list(file.lines(SAMPLE_BYTES))
    file_format = options.format or _FORMAT_OF_SUFFIX.get(path.suffix.lower()) or _format_of_content(file, lines)
    if file_format == "jsonl":
        return _jsonl_shape(file, lines)
    return _delimited_shape(file, lines, file_format, options)


def read_source(path: Path, shape: SourceShape, options: DataOptions) -> Iterator[Record | Problem]:
    """Every record of a file in order, and a Problem for each row that cannot be read.

    Raises:
        DataReadError: [data/wrong-encoding] and [data/unterminated-quote] at their line; the codes of
            `open_text_file`.
    """
    file = open_text_file(path, shape.name, options)
    if shape.dialect is None:
        return _jsonl_records(file, file.lines())
    return _delimited_records(file, rows(file.lines(), shape.dialect, file), shape.columns, shape.first_line)


def _format_of_content(file: TextFile, lines: Sequence[Line]) -> Format | None:
    """jsonl for text that begins with an object, None for text that a delimiter must decide."""
    first = next((text for _, text in lines if text and not text.isspace()), "").lstrip()
    if first.startswith("["):
        raise DataReadError(
            "data/unknown-format",
            "begins like a JSON array",
            where=file.name,
            known=("csv", "tsv", "jsonl"),
            hint="write one JSON object per line: `jq -c '.[]' OLD > NEW.jsonl`; not JSON: `data: {format: csv}`",
        )
    return "jsonl" if first.startswith("{") else None


def _jsonl_shape(file: TextFile, lines: Sequence[Line]) -> SourceShape:
    items = list(_jsonl_records(file, lines))
    sample = tuple(item for item in items if isinstance(item, Record))
    if not sample:
        raise _unreadable_start(file, items)
    columns = tuple(dict.fromkeys(key for record in sample for key in record.values))
    return SourceShape(
        name=file.name,
        format="jsonl",
        dialect=None,
        header=True,
        columns=columns,
        first_line=sample[0].origin.line,
        sample=sample,
    )


def _delimited_shape(
    file: TextFile, lines: Sequence[Line], file_format: Format | None, options: DataOptions
) -> SourceShape:
    dialect = detect_dialect(lines, file, ("\t",) if file_format == "tsv" else ANY_DELIMITER)
    items = _sample_rows(file, lines, dialect)
    cut = [item for item in items if not isinstance(item, Problem)]
    if not cut or isinstance(items[0], Problem):
        raise _unreadable_start(file, items)
    line, first = cut[0]
    header = options.header
    if header is None:
        header = detect_header([cells for _, cells in cut], options.columns.values(), file.name, line)
    if header and len(items) == 1 and file.size_bytes <= SAMPLE_BYTES:
        raise DataReadError("data/no-rows", "has a header and no rows", where=f"{file.name}:{line}")
    columns = _header_names(file, line, first) if header else _numbered_names(cut)
    first_line = line + 1 if header else line
    records = _delimited_records(file, items, columns, first_line)
    return SourceShape(
        name=file.name,
        format=file_format or ("tsv" if dialect.delimiter == "\t" else "csv"),
        dialect=dialect,
        header=header,
        columns=columns,
        first_line=first_line,
        sample=tuple(item for item in records if isinstance(item, Record)),
    )


def _sample_rows(file: TextFile, lines: Sequence[Line], dialect: Dialect) -> list[Cells | Problem]:
    """The rows of the sample; a row that the end of the sample cuts in two is left out."""
    items: list[Cells | Problem] = []
    try:
        for item in rows(lines, dialect, file):
            items.append(item)  # noqa: PERF402  # what came before the error is kept
    except DataReadError:
        if not items or file.size_bytes <= SAMPLE_BYTES:
            raise
    return items


def _unreadable_start(file: TextFile, items: Sequence[object]) -> DataReadError:
    first = next((item for item in items if isinstance(item, Problem)), None)
    if first is None:
        return DataReadError("data/empty-file", "holds no rows", where=file.name)
    return DataReadError(
        first.code, first.reason, where=str(first.origin), hint="repair the row: it decides how the others are read"
    )


def _header_names(file: TextFile, line: int, cells: Sequence[str]) -> tuple[str, ...]:
    names = tuple(cell.strip() or f"column{i}" for i, cell in enumerate(cells, start=1))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataReadError(
            "data/duplicate-columns",
            f'the header names "{excerpt(repeated[0])}" {names.count(repeated[0])} times',
            where=f"{file.name}:{line}",
            hint="give each column a name of its own; no header in this file: `data: {header: false}`",
        )
    return names


def _numbered_names(cut: Sequence[Cells]) -> tuple[str, ...]:
    """column1, column2... as many as most rows have cells."""
    width, _ = Counter(len(cells) for _, cells in cut).most_common(1)[0]
    return tuple(f"column{i}" for i in range(1, width + 1))


def _delimited_records(
    file: TextFile, items: Iterable[Cells | Problem], columns: tuple[str, ...], first_line: int
) -> Iterator[Record | Problem]:
    header = list(columns)
    for item in items:
        if isinstance(item, Problem):
            yield item
            continue
        line, cells = item
        if line < first_line:
            continue
        if len(cells) != len(columns):
            yield Problem(
                "data/ragged-row",
                f"the row has {len(cells)} cells where {len(columns)} are expected",
                file.origin(line),
                excerpt=excerpt(" | ".join(cells)),
            )
        elif cells == header:
            yield Problem("data/repeated-header", "the row repeats the header", file.origin(line))
        else:
            yield Record(dict(zip(columns, cells, strict=True)), file.origin(line))


def _jsonl_records(file: TextFile, lines: Iterable[Line]) -> Iterator[Record | Problem]:
    for item in objects(lines, file):
        yield item if isinstance(item, Problem) else Record(item[1], file.origin(item[0]))
