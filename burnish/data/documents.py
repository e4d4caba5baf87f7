"""Plain text, Markdown and HTML as rows of {"text": ...}: a paragraph or a section each, for continued pretraining."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from burnish.data.lines import TextFile
from burnish.data.options import Format
from burnish.data.records import Record, SourceShape, shape_of_records
from burnish.errors import DataReadError, excerpt
from burnish.types import Problem

TEXT = "text"
_SAMPLE_ROWS = 1000
_HEADING = re.compile(r" {0,3}#{1,6}(\s|$)")  # ATX headings, CommonMark 4.2
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")  # CommonMark 4.5

# Comments, elements without text for readers, tags, and what lies between; one that is never closed runs to the end,
# so that each character is looked at once.
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(?P<hidden>script|style|template|noscript|svg)\b.*?(?:</(?P=hidden)\s*>|\Z)"
    r"|<[/!?a-z](?:[^>\"']|\"[^\"]*(?:\"|\Z)|'[^']*(?:'|\Z))*+(?:>|\Z)|(?P<text>(?:[^<]|<(?![/!?a-z]))++)",
    re.DOTALL | re.IGNORECASE,
)
_TAG_NAME = re.compile(r"</?([a-z][a-z0-9]*)", re.IGNORECASE)
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote body br caption dd details div dl dt fieldset figcaption figure footer form "
        "h1 h2 h3 h4 h5 h6 head header hr html li main nav ol option p pre section summary table tbody td tfoot th "
        "thead title tr ul",
    )
)

# Line on which a text begins, and the text; None for one that is longer than a row may be.
Block = tuple[int, str | None]


def document_shape(file: TextFile, file_format: Format) -> SourceShape:
    """The first rows of a document.

    Raises:
        DataReadError: [data/empty-file] without text; the codes of `TextFile.lines`.
    """
    return shape_of_records(file.name, file_format, list(islice(_records(file, file_format), _SAMPLE_ROWS)))


def document_records(file: TextFile, shape: SourceShape) -> Iterator[Record | Problem]:
    """A record per paragraph (text) or section (Markdown, HTML); one that is too long or holds NUL is a Problem.

    Raises:
        DataReadError: [data/row-too-long] for HTML larger than a row may be; the codes of `TextFile.lines`.
    """
    return _records(file, shape.format)


def _records(file: TextFile, file_format: str) -> Iterator[Record | Problem]:
    for line, text in DOCUMENT_FORMATS[file_format](file):
        if text is None:
            yield file.too_long(line)
        elif "\0" in text:
            yield Problem("data/nul-byte", "the text holds a NUL byte", file.origin(line), excerpt=excerpt(text))
        else:
            yield Record({TEXT: text}, file.origin(line))


def _paragraphs(file: TextFile) -> Iterator[Block]:
    """Lines up to the next blank one, byte for byte."""
    collected = _Collected(file)
    for number, text in file.lines():
        if text is not None and not text.strip():
            yield from collected.take()
        else:
            collected.add(number, text)
    yield from collected.take()


def _markdown_sections(file: TextFile) -> Iterator[Block]:
    """From one heading with text below it to the next; headings inside fenced code are code."""
    collected, fence, body = _Collected(file), "", False
    for number, text in file.lines():
        line = text or ""
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        heading = not fence and _HEADING.match(line) is not None
        if heading and body:
            yield from collected.take()
            body = False
        body = body or (not heading and bool(line.strip()))
        collected.add(number, text)
    yield from collected.take()


class _Collected:
    """The lines of the text that is being put together."""

    def __init__(self, file: TextFile) -> None:
        self._limit = file.max_row_bytes
        self._lines: list[str] = []
        self._first, self._size = 0, -1  # the last line break is not counted

    def add(self, number: int, text: str | None) -> None:
        if self._size < 0:
            self._first = number
        self._size += self._limit + 2 if text is None else len(text) + 1
        if text is not None and self._size <= self._limit:
            self._lines.append(text.removesuffix("\r"))

    def take(self) -> Iterator[Block]:
        """What was collected, blank lines at either end left out, if there is anything."""
        while self._lines and not self._lines[0].strip():
            del self._lines[0]
            self._first += 1
        text = "\n".join(self._lines).rstrip()
        if self._size > self._limit:
            yield self._first, None
        elif text:
            yield self._first, text
        self._lines, self._size = [], -1


def _html_sections(file: TextFile) -> Iterator[Block]:
    """The text of an HTML page, cut at its headings; scripts, styles and comments are no text."""
    page = _whole(file)
    pieces: list[str] = []
    line, first, body = 1, 1, False
    for match in _MARKUP.finditer(page):
        markup = match[0]
        if match.lastgroup == "text":
            pieces.append(html.unescape(markup))
            body = body or bool(markup.strip())
        elif name := _TAG_NAME.match(markup):
            tag = name[1].lower()
            if tag in _HEADINGS and markup[1] != "/" and body:
                yield from _tidy(first, pieces)
                pieces, first, body = [], line, False
            if tag in _BLOCKS:
                pieces.append("\n")
        line += markup.count("\n")
    yield from _tidy(first, pieces)


def _whole(file: TextFile) -> str:
    pieces, size = [], 0
    for chunk in file.chunks():
        size += len(chunk)
        if size > file.max_row_bytes:
            raise DataReadError(
                "data/row-too-long",
                f"an HTML page is read as a whole, and this one is longer than {file.max_row_bytes:,} bytes",
                where=f"{file.name}:1",
                hint="raise `data: {max_row_bytes: ...}`, or save its text as .txt",
            )
        pieces.append(chunk)
    return "".join(pieces)


def _tidy(line: int, pieces: list[str]) -> Iterator[Block]:
    """Blanks and line breaks as a browser shows them: one blank, and one line per block."""
    lines = (" ".join(part.split()) for part in _browser_lines(pieces))
    text = "\n".join(filter(None, lines))
    if text:
        yield line, text


def _browser_lines(pieces: list[str]) -> list[str]:
    """A piece of text is one line, whatever its own line breaks; "\\n" stands for the edge of a block."""
    return "".join(piece if piece == "\n" else piece.replace("\n", " ") for piece in pieces).split("\n")


DOCUMENT_FORMATS: Mapping[str, Callable[[TextFile], Iterator[Block]]] = {
    "text": _paragraphs,
    "markdown": _markdown_sections,
    "html": _html_sections,
}
