"""One JSON object per line, read strictly: what standard JSON does not allow is refused, row by row."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from burnish.data.lines import Line, TextFile
from burnish.errors import excerpt
from burnish.types import Problem

MAX_DEPTH = 64
_MAX_DIGITS = 4300  # where Python itself refuses to convert: the time grows with the square
# A string (an unclosed one runs to the end, so that the scan stays linear) or one bracket.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class RefusedJsonError(ValueError):
    """A text that is not the JSON we take: a code and a reason for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def objects(lines: Iterable[Line], file: TextFile) -> Iterator[tuple[int, dict[str, object]] | Problem]:
    """Line number and object per line; blank lines are passed over, other lines are a Problem each."""
    for number, text in lines:
        if text is None:
            yield file.too_long(number)
            continue
        if not text or text.isspace():
            continue
        try:
            yield number, parse_object(text)
        except RefusedJsonError as refused:
            yield Problem(refused.code, refused.reason, file.origin(number), excerpt=excerpt(text))


def parse_object(text: str) -> dict[str, object]:
    """The JSON object a line holds.

    Raises:
        RefusedJsonError: as `parse_value`, or not an object.
    """
    value = parse_value(text)
    if not isinstance(value, dict):
        raise RefusedJsonError("data/not-an-object", "the row is JSON but not an object with columns as keys")
    return value


def parse_value(text: str) -> object:
    """The JSON value a text holds.

    Raises:
        RefusedJsonError: not JSON, a key twice, NaN or infinity, a number of over 4,300 digits, half of a surrogate
            pair, nesting deeper than 64.
    """
    if "\0" in text:
        raise RefusedJsonError("data/nul-byte", "the row holds a NUL byte")
    if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(text):
        raise RefusedJsonError("data/too-deep", f"the JSON is nested deeper than {MAX_DEPTH}")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RefusedJsonError("data/bad-json", f"not JSON: {error.msg} at character {error.pos + 1}") from None
    if "\\u" in text and _has_lone_surrogate(value):
        raise RefusedJsonError("data/bad-json", "a \\u escape is half of a surrogate pair: not a character")
    return value


def _too_deep(text: str) -> bool:
    """Whether brackets outside strings are nested deeper than allowed."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        mark = match[0]
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif mark in "]}":
            depth -= 1
    return False


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        repeated, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise RefusedJsonError("data/duplicate-key", f'the key "{excerpt(repeated)}" is there twice')
    return values


def _no_constant(name: str) -> NoReturn:
    raise RefusedJsonError("data/bad-number", f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise RefusedJsonError("data/bad-number", f"{excerpt(digits, 20)} is too large for a number")
    return value


def _bounded_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise RefusedJsonError("data/bad-number", f"a number of {len(digits):,} digits is too large")
    return int(digits)


def _has_lone_surrogate(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite, parse_int=_bounded_integer
)
