"""One door to every format: look at the beginning of a file, then give record after record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from burnish.data.columnar import columnar_format, columnar_records, columnar_shape
from burnish.data.compressed import COMPRESSED_SUFFIXES
from burnish.data.conll import conll_records, conll_shape
from burnish.data.delimited_file import delimited_records, delimited_shape
from burnish.data.dialect import is_delimited
from burnish.data.documents import DOCUMENT_FORMATS, document_records, document_shape
from burnish.data.image_folder import folder_records, folder_shape
from burnish.data.json_array import json_records, json_shape, looks_like_json_lines
from burnish.data.jsonl import objects
from burnish.data.lines import SAMPLE_BYTES, TextFile, open_text_file, read_head, require_bounded
from burnish.data.options import DataOptions, Format
from burnish.data.records import Record, SourceShape, shape_of_records
from burnish.types import Problem

__all__ = ["Record", "SourceShape", "inspect_source", "read_source"]

_FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}


def inspect_source(path: Path, options: DataOptions, *, name: str | None = None) -> SourceShape:
    """The shape of a file, from its beginning: 256 KiB of text, 1,000 rows of Parquet or Arrow, 1,000 images.

    Args:
        path: where the file is.
        options: format, header and encoding, where the user has set them.
        name: the path as the user wrote it; None: `path` itself.

    Raises:
        DataReadError: every code of `open_text_file`, and [data/no-rows], [data/header-unclear],
            [data/duplicate-columns], [data/unterminated-quote], [data/bad-json], or the code of a first row that
            cannot be read.
    """
    name = name or str(path)
    if path.is_dir():
        return folder_shape(path, name)
    columnar = columnar_format(read_head(path, name), path, options)
    require_bounded(path, name)
    if columnar:
        return columnar_shape(path, name, columnar, options)
    file = open_text_file(path, name, options)
    file_format = options.format or _format_of(file)
    if file_format is None or file_format in ("csv", "tsv"):
        return delimited_shape(file, file_format, options)
    if file_format in DOCUMENT_FORMATS:
        return document_shape(file, file_format)
    return _SHAPES[file_format](file)


def read_source(path: Path, shape: SourceShape, options: DataOptions) -> Iterator[Record | Problem]:
    """Every record of a file in order, and a Problem for each row that cannot be read.

    Raises:
        DataReadError: where the rest of the file cannot be read: [data/wrong-encoding], [data/unterminated-quote],
            [data/bad-json] and [data/damaged-file] at their line; the codes of `open_text_file`.
    """
    if shape.format in ("parquet", "arrow"):
        return columnar_records(path, shape, options)
    if shape.format == "image-folder":
        return folder_records(path, shape.name)
    return _TEXT_RECORDS[shape.format](open_text_file(path, shape.name, options), shape)


def _format_of(file: TextFile) -> Format | None:
    """The format by the file's name, else by its beginning; None for text that a delimiter must decide."""
    path = file.path.with_suffix("") if file.path.suffix.lower() in COMPRESSED_SUFFIXES else file.path
    suffix = path.suffix.lower()
    if suffix in _FORMAT_OF_SUFFIX:
        return _FORMAT_OF_SUFFIX[suffix]
    start = file.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        return "jsonl" if looks_like_json_lines(file, alone=suffix != ".json") else "json"
    if suffix == ".json" or (start.startswith(b"[") and start[1:].lstrip()[:1] in (b"{", b"]")):
        return "json"
    if suffix in (".txt", ".text") and not is_delimited(list(file.lines(SAMPLE_BYTES)), file):
        return "text"
    return None


def _jsonl_shape(file: TextFile) -> SourceShape:
    items = [_record(item, file) for item in objects(file.lines(SAMPLE_BYTES), file)]
    return shape_of_records(file.name, "jsonl", items)


def _jsonl_records(file: TextFile, _: SourceShape) -> Iterator[Record | Problem]:
    return (_record(item, file) for item in objects(file.lines(), file))


def _record(item: tuple[int, dict[str, object]] | Problem, file: TextFile) -> Record | Problem:
    return item if isinstance(item, Problem) else Record(item[1], file.origin(item[0]))


_SHAPES: Mapping[str, Callable[[TextFile], SourceShape]] = {
    "jsonl": _jsonl_shape,
    "json": json_shape,
    "conll": conll_shape,
}
_TEXT_RECORDS: Mapping[str, Callable[[TextFile, SourceShape], Iterator[Record | Problem]]] = {
    "csv": delimited_records,
    "tsv": delimited_records,
    "jsonl": _jsonl_records,
    "json": json_records,
    "conll": conll_records,
    **dict.fromkeys(DOCUMENT_FORMATS, document_records),
}
