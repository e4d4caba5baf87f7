"""CSV and TSV files: what the first rows tell about the others, and every row as a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from burnish.data.delimited import Cells, Dialect, rows
from burnish.data.dialect import ANY_DELIMITER, detect_dialect
from burnish.data.header import detect_header
from burnish.data.lines import SAMPLE_BYTES, Line, TextFile
from burnish.data.options import DataOptions, Format
from burnish.data.records import Record, SourceShape, unreadable_start
from burnish.errors import DataReadError, excerpt
from burnish.types import Origin, Problem


def delimited_shape(file: TextFile, file_format: Format | None, options: DataOptions) -> SourceShape:
    """Delimiter, quoting, header and columns, from the sample.

    Args:
        file: the opened file.
        file_format: csv or tsv where name or recipe say so; None: the delimiter tells.
        options: header and column names, where the user has set them.

    Raises:
        DataReadError: [data/no-rows], [data/header-unclear], [data/duplicate-columns], [data/empty-file],
            [data/unterminated-quote], or the code of a first row that cannot be read.
    """
    lines = list(file.lines(SAMPLE_BYTES))
    dialect = detect_dialect(lines, file, ("\t",) if file_format == "tsv" else ANY_DELIMITER)
    items = _sample_rows(file, lines, dialect)
    cut = [item for item in items if not isinstance(item, Problem)]
    if not cut or isinstance(items[0], Problem):
        raise unreadable_start(file.name, items)
    line, first = cut[0]
    header = options.header
    if header is None:
        header = detect_header([cells for _, cells in cut], options.columns.values(), file.name, line)
    if header and len(items) == 1 and file.fits_sample:
        raise DataReadError("data/no-rows", "has a header and no rows", where=f"{file.name}:{line}")
    columns = _header_names(file, line, first) if header else _numbered_names(cut)
    first_line = line + 1 if header else line
    records = _records(items, file, columns, first_line)
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
        if not items or file.fits_sample:
            raise
    return items


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


def delimited_records(file: TextFile, shape: SourceShape) -> Iterator[Record | Problem]:
    """Every row of the file as a record, or a Problem when it cannot be one.

    Raises:
        DataReadError: [data/unterminated-quote] at its line; the codes of `TextFile.lines`.
    """
    if shape.dialect is None:
        raise ValueError(f"{shape.format} has no cells")
    return _records(rows(file.lines(), shape.dialect, file), file, shape.columns, shape.first_line)


def _records(
    items: Iterable[Cells | Problem], file: TextFile, columns: tuple[str, ...], first_line: int
) -> Iterator[Record | Problem]:
    header, width, name = list(columns), len(columns), file.name
    for item in items:
        if isinstance(item, Problem):
            yield item
            continue
        line, cells = item
        if len(cells) != width:
            if line >= first_line:
                yield _ragged(cells, width, file.origin(line))
        elif cells == header:
            if line >= first_line:
                yield Problem("data/repeated-header", "the row repeats the header", file.origin(line))
        elif line >= first_line:
            yield Record(dict(zip(columns, cells, strict=False)), Origin(name, line))  # of equal length, see above


def _ragged(cells: Sequence[str], width: int, origin: Origin) -> Problem:
    return Problem(
        "data/ragged-row",
        f"the row has {len(cells)} cells where {width} are expected",
        origin,
        excerpt=excerpt(" | ".join(cells)),
    )
