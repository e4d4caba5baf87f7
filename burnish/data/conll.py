"""CoNLL files: one token a line with its tag in the last column, a blank line after each sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from burnish.data.delimited import Dialect
from burnish.data.lines import SAMPLE_BYTES, Line, TextFile
from burnish.data.records import Record, SourceShape, shape_of_records
from burnish.errors import excerpt
from burnish.types import Problem

_DOCUMENT = "-DOCSTART-"  # a line of its own between the documents of CoNLL-2003


def conll_shape(file: TextFile) -> SourceShape:
    """Tabs or blanks between the columns, by the first lines.

    Raises:
        DataReadError: [data/empty-file] without a sentence, or the code of the first one when none can be read.
    """
    lines = list(file.lines(SAMPLE_BYTES))
    if not file.fits_sample:
        lines = lines[: max((i for i, (_, text) in enumerate(lines) if _is_blank(text)), default=len(lines))]
    dialect = Dialect("\t" if any("\t" in (text or "").strip() for _, text in lines) else " ", quoted=False)
    return shape_of_records(file.name, "conll", list(_sentences(lines, file, dialect)), dialect=dialect)


def conll_records(file: TextFile, shape: SourceShape) -> Iterator[Record | Problem]:
    """A record per sentence, {"tokens": [...], "tags": [...]}; a sentence with a line that does not fit is a Problem.

    Comments ("# ..." before the first token of a sentence) and -DOCSTART- lines are passed over.

    Raises:
        DataReadError: the codes of `TextFile.lines`.
    """
    return _sentences(file.lines(), file, shape.dialect or Dialect("\t", quoted=False))


def _sentences(lines: Iterable[Line], file: TextFile, dialect: Dialect) -> Iterator[Record | Problem]:
    sentence: list[tuple[int, list[str] | None]] = []
    size, width = 0, 0
    for number, text in lines:
        if _is_blank(text):
            if sentence:
                yield _judged(sentence, file, width, size)
            sentence, size = [], 0
            continue
        cells = None if text is None else _cells(text, dialect.delimiter)
        if not sentence and cells and (cells[0] == _DOCUMENT or (cells[0].startswith("#") and len(cells) != width)):
            continue
        if not width and cells:
            width = len(cells)
        size += len(text or "") + 1
        if size <= file.max_row_bytes or not sentence:
            sentence.append((number, cells))
    if sentence:
        yield _judged(sentence, file, width, size)


def _cells(text: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return [cell.strip(" \r") or cell for cell in text.rstrip("\t \r").split("\t")]
    return text.split()


def _judged(sentence: list[tuple[int, list[str] | None]], file: TextFile, width: int, size: int) -> Record | Problem:
    """The record of a sentence, or what is wrong with its first bad line."""
    if size > file.max_row_bytes:
        return file.too_long(sentence[0][0])
    tokens, tags = [], []
    for number, cells in sentence:
        if cells is None:
            return file.too_long(number)
        if "\0" in "".join(cells):
            return Problem("data/nul-byte", "the line holds a NUL byte", file.origin(number))
        if len(cells) != width or width < 2:
            reason = f"the line has {len(cells)} columns where {max(width, 2)} are expected: a token and its tag"
            return Problem("data/ragged-row", reason, file.origin(number), excerpt=excerpt(" | ".join(cells)))
        tokens.append(cells[0])
        tags.append(cells[-1])
    return Record({"tokens": tokens, "tags": tags}, file.origin(sentence[0][0]))


def _is_blank(text: str | None) -> bool:
    return text is not None and (not text or text.isspace())
