"""Parquet and Arrow files, read batch by batch; a row's place is its number, from 1."""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.data.compressed import FREE_BYTES, MAX_RATIO, needs_package
from burnish.data.lines import damaged
from burnish.data.options import DataOptions, Format
from burnish.data.records import Record, SourceShape, unreadable_start
from burnish.errors import DataReadError, excerpt
from burnish.types import Origin, Problem

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLE_ROWS = 1000
_FREE_TEXT = 256 * 1024**2  # characters of text that any file may give: classes that repeat are stored once
_BATCH_ROWS = 1024
_BUFFER_BYTES = 1024**2
_ARROW_FILE = b"ARROW1"
_ARROW_STREAM = b"\xff\xff\xff\xff"
_PARQUET = b"PAR1"


def columnar_format(head: bytes, path: Path, options: DataOptions) -> Format | None:
    """parquet or arrow by a file's first bytes, None for everything else.

    Raises:
        DataReadError: [data/unknown-format] for a file that the recipe calls so and that is something else.
    """
    if head.startswith(_PARQUET):
        return "parquet"
    if head.startswith((_ARROW_FILE, _ARROW_STREAM)):
        return "arrow"
    suffixes: Mapping[str, Format] = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow"}
    wanted = options.format if options.format in ("parquet", "arrow") else suffixes.get(path.suffix.lower())
    if wanted:
        raise damaged(f"{path}:1", f"does not begin like {wanted.capitalize()}")
    return None


def columnar_shape(path: Path, name: str, file_format: Format, options: DataOptions) -> SourceShape:
    """The columns of a file, and its first 1,000 rows.

    Raises:
        DataReadError: [data/damaged-file], [data/needs-package], [data/no-rows]; as `open_text_file` for its place.
    """
    columns, _ = _open(path, name, file_format)
    items = list(islice(_records(path, name, file_format, options), _SAMPLE_ROWS))
    sample = tuple(item for item in items if isinstance(item, Record))
    if not items:
        raise DataReadError("data/no-rows", "has columns and no rows", where=f"{name}:1")
    if not sample:
        raise unreadable_start(name, items)
    return SourceShape(
        name=name,
        format=file_format,
        dialect=None,
        header=True,
        columns=tuple(columns),
        first_line=1,
        sample=sample,
    )


def columnar_records(path: Path, shape: SourceShape, options: DataOptions) -> Iterator[Record | Problem]:
    """Every row, its values as JSON has them: dates as ISO 8601, bytes as data: URLs, lists and structs as they are.

    Raises:
        DataReadError: [data/damaged-file] at the row after which nothing can be read.
    """
    return _records(path, shape.name, shape.format, options)


def _open(path: Path, name: str, file_format: Format) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    """Column names and batches of up to 1,024 rows."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        raise needs_package(name, "parquet", "pyarrow") from None
    with _explained(f"{name}:1", file_format):
        columns, batches = _open_parquet(pa, path, name) if file_format == "parquet" else _open_arrow(pa, path)
    repeated = next((column for column in columns if columns.count(column) > 1), None)
    if repeated is not None:
        reason = f'names the column "{excerpt(repeated)}" {columns.count(repeated)} times'
        raise DataReadError("data/duplicate-columns", reason, where=f"{name}:1", hint="give each column its own name")
    return columns, batches


def _open_parquet(pa: Any, path: Path, name: str) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False, memory_map=False)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    size, limit = sum(group.total_byte_size for group in groups), max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
    if size > limit:
        raise damaged(f"{name}:1", f"expands to {size:,} bytes, more than {MAX_RATIO} times its size")
    repeated = _dictionary_columns(groups)
    file = pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False, memory_map=False, read_dictionary=repeated)
    return list(file.schema_arrow.names), file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)


def _dictionary_columns(groups: Sequence[Any]) -> list[str]:
    """Columns of texts that are stored once each: read so, a long text repeated a million times stays one text."""
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    texts = {column.path_in_schema for column in columns if column.physical_type == "BYTE_ARRAY"}
    plain = {column.path_in_schema for column in columns if not any("DICTIONARY" in name for name in column.encodings)}
    return sorted(texts - plain)


def _open_arrow(pa: Any, path: Path) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    stream = pa.OSFile(str(path))
    if stream.read(len(_ARROW_FILE)) == _ARROW_FILE:
        reader = pa.ipc.open_file(stream)
        whole = (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        stream.seek(0)
        reader = pa.ipc.open_stream(stream)
        whole = iter(reader)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in whole:
            batch.validate(full=True)  # offsets that point outside would be followed
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS)

    return list(reader.schema.names), batches()


def _records(path: Path, name: str, file_format: Format, options: DataOptions) -> Iterator[Record | Problem]:
    _, batches = _open(path, name, file_format)
    left = max(_FREE_TEXT, MAX_RATIO * path.stat().st_size)
    row = 1
    while True:
        with _explained(f"{name}:{row}", file_format):
            batch = next(batches, None)
            if batch is None:
                return
            names = batch.schema.names
            cells = [_plain_column(batch.column(i)) for i in range(batch.num_columns)]
        size = sum(len(cell) for column in cells for cell in column if isinstance(cell, str))
        left -= size
        if left < 0:
            raise damaged(f"{name}:{row}", f"its texts expand to more than {MAX_RATIO} times its size")
        for values in zip(*cells, strict=True):
            record = Record(dict(zip(names, values, strict=True)), Origin(name, row))
            yield _refused(record, options.max_row_bytes if size > options.max_row_bytes else None) or record
            row += 1


def _refused(record: Record, max_row_bytes: int | None) -> Problem | None:
    """What is wrong with a row: a number that JSON does not have, or texts longer than a row may be."""
    for column, value in record.values.items():
        if value in (math.inf, -math.inf):
            return Problem("data/bad-number", "the number is infinite", record.origin, column=column)
    size = sum(len(value) for value in record.values.values() if isinstance(value, str)) if max_row_bytes else 0
    if max_row_bytes is not None and size > max_row_bytes:
        return Problem("data/row-too-long", f"the row is longer than {max_row_bytes:,} bytes", record.origin)
    return None


def _plain_column(column: Any) -> list[object]:
    """The cells of a column as JSON values."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        used = column.indices.unique().drop_null()
        texts = dict(zip(used.to_pylist(), _plain_column(column.dictionary.take(used)), strict=True))
        return list(map(texts.get, column.indices.to_pylist()))
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":  # Python's own dates end at microseconds
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    values: list[object] = column.to_pylist()
    if pa.types.is_string(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return values
    return [_plain(value) for value in values]


def _plain(value: object) -> object:
    """A value as JSON has it; NaN, which tables use for what is missing, becomes null."""
    match value:
        case float():
            return None if math.isnan(value) else value
        case bytes():
            return _text_or_url(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case decimal.Decimal():
            return float(value)
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


def _text_or_url(value: bytes) -> str:
    """Bytes that are text as text, others (an image, a recording) as a data: URL (RFC 2397)."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    return f"data:;base64,{base64.b64encode(value).decode()}" if "\0" in text else text


@contextmanager
def _explained(where: str, file_format: Format) -> Iterator[None]:
    """Turns what pyarrow raises over bytes it cannot read into an error that names file and row."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, OverflowError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno:
            raise DataReadError(
                "data/unreadable-file", f"cannot be read: {error.strerror}", where=where, hint="check its permissions"
            ) from None
        first, *_ = str(error).splitlines() or [type(error).__name__]
        reason = f"is damaged {file_format.capitalize()}, or of a kind that is not read: {excerpt(first, 200)}"
        raise damaged(where, reason) from None
