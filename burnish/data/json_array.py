"""JSON files that are one array of objects, or one object that holds such an array: read element by element.

The file is cut at brackets and commas, each element is then read as strictly as a line of JSONL. One element at a
time is held, whatever the size of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from burnish.data.jsonl import RefusedJsonError, parse_object, parse_value
from burnish.data.lines import SAMPLE_BYTES, TextFile
from burnish.data.records import Record, SourceShape, shape_of_records
from burnish.errors import DataReadError, excerpt
from burnish.types import Problem

# A whole string, or the quote of one that goes on behind the buffer, or a bracket.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
# An object without brackets inside and the comma behind it: most rows, cut at one go.
_FLAT_OBJECT = re.compile(r'[ \t\n\r]*+(\{(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+\})[ \t\n\r]*+,', re.DOTALL)
_SCALAR_END = re.compile(r"[\s,\]}]")
_SPACE = re.compile(r"[ \t\n\r]*+")
_CLOSES = {"{": "}", "[": "]"}

# Line on which an element begins, and its text.
Element = tuple[int, str]


def json_shape(file: TextFile) -> SourceShape:
    """The keys of the elements within the first 256 KiB.

    Raises:
        DataReadError: [data/empty-file] without an element; as `json_records`.
    """
    items: list[Record | Problem] = []
    seen = 0
    for element in _elements(file):
        items.append(_record(element, file))
        seen += len(element[1])
        if seen >= SAMPLE_BYTES:
            break
    return shape_of_records(file.name, "json", items)


def json_records(file: TextFile, _: SourceShape) -> Iterator[Record | Problem]:
    """Every element as a record; one that is no object or no strict JSON is a Problem.

    Raises:
        DataReadError: at the line from which on the rest cannot be told apart: [data/bad-json] for brackets or commas
            that do not fit, [data/row-too-long]; [data/unknown-format] for an object without an array of objects, or
            with two; the codes of `TextFile.chunks`.
    """
    return (_record(element, file) for element in _elements(file))


def looks_like_json_lines(file: TextFile, *, alone: bool) -> bool:
    """Whether a file that begins with { holds an object per line; `alone`: what a single object would mean."""
    whole = [text for _, text in file.lines(SAMPLE_BYTES) if text and not text.isspace()][:2]
    if len(whole) < 2:
        return alone
    return whole[0].rstrip().endswith("}") and whole[1].lstrip().startswith("{")


def _record(element: Element, file: TextFile) -> Record | Problem:
    line, text = element
    try:
        return Record(parse_object(text), file.origin(line))
    except RefusedJsonError as refused:
        return Problem(refused.code, refused.reason, file.origin(line), excerpt=excerpt(text))


def _elements(file: TextFile) -> Iterator[Element]:
    """The elements of the one array of objects."""
    text = _Text(file)
    first = text.next()
    if first == "[":
        text.position += 1
        yield from _array(text)
    elif first == "{":
        yield from _object(text)
    else:
        raise text.broken("the file begins with neither [ nor {")
    if text.next():
        raise text.broken("there is something behind the end of the array")


def _array(text: _Text) -> Iterator[Element]:
    """The elements behind an opening bracket, up to the closing one."""
    if text.next() == "]":
        text.position += 1
        return
    while True:
        yield from text.flat_objects()
        text.next()
        yield text.value()
        mark = text.next()
        if mark not in (",", "]"):
            raise text.broken("a comma or ] is missing" if mark else "the file ends before its array does")
        text.position += 1
        if mark == "]":
            return


def _object(text: _Text) -> Iterator[Element]:
    """The elements of the one array of objects among the values of an object; other values are passed over."""
    rows_key = None
    mark = "{"
    while mark != "}":
        text.position += 1
        if text.next() == "}" and mark == "{":
            text.position += 1
            break
        key = _key(text)
        if text.next() == "[":
            text.position += 1
            holds_objects = text.next() == "{"
            if holds_objects and rows_key is not None:
                raise text.unknown(f'holds two arrays of rows, "{excerpt(rows_key)}" and "{excerpt(key)}"')
            if holds_objects:
                rows_key = key
                yield from _array(text)
            else:
                for element in _array(text):
                    _check(text, element)
        else:
            _check(text, text.value())
        mark = text.next()
        if mark not in (",", "}"):
            raise text.broken("a comma or } is missing" if mark else "the file ends before its object does")
    text.position += mark == "}"
    if rows_key is None:
        raise text.unknown("is a JSON object without an array of objects")


def _key(text: _Text) -> str:
    if text.next() != '"':
        raise text.broken("a key in double quotes is missing")
    key = str(_check(text, text.value()))
    if text.next() != ":":
        raise text.broken("a colon is missing")
    text.position += 1
    return key


def _check(text: _Text, element: Element) -> object:
    line, value = element
    try:
        return parse_value(value)
    except RefusedJsonError as refused:
        raise DataReadError(refused.code, refused.reason, where=f"{text.file.name}:{line}") from None


class _Text:
    """The characters of a file from a position on; what lies before the current element is forgotten."""

    def __init__(self, file: TextFile) -> None:
        self.file = file
        self.position = 0
        self._chunks = file.chunks()
        self._buffer = ""
        self._line = 1
        self._counted = 0  # newlines before this position are in self._line

    def next(self) -> str:
        """Passes over whitespace and gives the character there; nothing at the end of the file."""
        while True:
            match = _SPACE.match(self._buffer, self.position)
            self.position = match.end() if match else self.position
            if self.position < len(self._buffer):
                return self._buffer[self.position]
            if not self._more(self.position):
                return ""

    def flat_objects(self) -> Iterator[Element]:
        """The elements from here on that are objects without brackets inside and have a comma behind them."""
        while match := _FLAT_OBJECT.match(self._buffer, self.position):
            self.position = match.start(1)
            line = self.line()
            self.position = match.end()
            yield line, match[1]

    def value(self) -> Element:
        """The line and the text of the value that begins here."""
        line, first = self.line(), self._buffer[self.position : self.position + 1]
        if first in ("", ",", "]", "}", ":"):
            raise self.broken("a value is missing")
        start = self._end_of_scalar() if first not in '"[{' else self._end_of_container()
        return line, self._buffer[start : self.position]

    def line(self) -> int:
        self._line += self._buffer.count(self.file.newline, self._counted, self.position)
        self._counted = self.position
        return self._line

    def broken(self, reason: str) -> DataReadError:
        return DataReadError(
            "data/bad-json",
            f"not a JSON array of rows: {reason}",
            where=f"{self.file.name}:{self.line()}",
            hint="repair it; a file of one JSON object per line is JSONL: `data: {format: jsonl}`",
        )

    def unknown(self, reason: str) -> DataReadError:
        return DataReadError(
            "data/unknown-format",
            reason,
            where=f"{self.file.name}:{self.line()}",
            hint="write the rows as one array of objects, or one object per line: `jq -c '.KEY[]' OLD > NEW.jsonl`",
        )

    def _end_of_scalar(self) -> int:
        """Moves to the end of the number or word that begins here; gives where it begins."""
        scan = self.position
        while not (match := _SCALAR_END.search(self._buffer, scan)):
            scan = len(self._buffer) - self.position
            if not self._more(self.position):
                break
        start, self.position = self.position, match.start() if match else len(self._buffer)
        return start

    def _end_of_container(self) -> int:
        """Moves to the end of the object, array or string that begins here; gives where it begins."""
        scan, opened = self.position, list[str]()
        while True:
            match = _TOKEN.search(self._buffer, scan)
            mark = match[0] if match else ""
            if match is None or mark == '"':  # the rest lies behind the buffer
                scan = (match.start() if match else len(self._buffer)) - self.position
                if not self._more(self.position):
                    raise self.broken("what begins here is not closed before the file ends")
                continue
            scan = match.end()
            if mark in _CLOSES:
                opened.append(_CLOSES[mark])
            elif mark in ("]", "}") and (not opened or opened.pop() != mark):
                self.position = scan
                raise self.broken(f"{mark} closes what it did not open")
            if not opened:
                start, self.position = self.position, scan
                return start

    def _more(self, start: int) -> bool:
        """Reads on and forgets what lies before `start`, which becomes 0; False at the end of the file."""
        if len(self._buffer) - start > self.file.max_row_bytes:
            too_long = self.file.too_long(self.line())
            hint = "raise `data: {max_row_bytes: ...}`, or write one row per line (JSONL)"
            raise DataReadError(too_long.code, too_long.reason, where=str(too_long.origin), hint=hint)
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self.line()
        self._counted -= start
        self.position -= start
        self._buffer = self._buffer[start:] + chunk
        return True
