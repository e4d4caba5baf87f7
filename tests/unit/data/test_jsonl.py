"""JSON is read strictly, one line at a time, in linear time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from burnish.data.jsonl import MAX_DEPTH, objects, parse_object
from burnish.data.lines import TextFile
from burnish.types import Problem

OpenText = Callable[..., TextFile]


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        ('{"text": "a"', "data/bad-json", "not JSON: Expecting ',' delimiter at character 13"),
        ("{'text': 1}", "data/bad-json", "at character 2"),
        ('{"text": "a"} x', "data/bad-json", "Extra data"),
        ("[1, 2]", "data/not-an-object", "not an object"),
        ('"text"', "data/not-an-object", "not an object"),
        ('{"a": 1, "b": 2, "a": 3}', "data/duplicate-key", 'the key "a" is there twice'),
        ('{"a": {"b": 2, "b": 3}}', "data/duplicate-key", 'the key "b" is there twice'),
        ('{"a": NaN}', "data/bad-number", "NaN is not a JSON number"),
        ('{"a": -Infinity}', "data/bad-number", "-Infinity is not a JSON number"),
        ('{"a": 1e999}', "data/bad-number", "1e999 is too large"),
        ('{"a": ' + "9" * 5000 + "}", "data/bad-number", "a number of 5,000 digits is too large"),
        ('{"a": "\\ud800"}', "data/bad-json", "half of a surrogate pair"),
        ('{"\\udc00": 1}', "data/bad-json", "half of a surrogate pair"),
        ('{"a": "b\0"}', "data/nul-byte", "NUL"),
        ('{"a": ' + "[" * 100_000, "data/too-deep", "deeper than 64"),
        ('{"a": ' * 65 + "1" + "}" * 65, "data/too-deep", "deeper than 64"),
    ],
)
def test_refused_lines(text_file: OpenText, line: str, code: str, reason: str) -> None:
    file = text_file(f'{{"a": 1}}\n{line}\n\n{{"a": 2}}\n')
    first, problem, last = objects(file.lines(), file)
    assert (first, last) == ((1, {"a": 1}), (4, {"a": 2}))
    assert isinstance(problem, Problem)
    assert (problem.code, str(problem.origin)) == (code, "rows.csv:2")
    assert reason in problem.reason
    assert problem.excerpt is not None
    assert len(problem.excerpt) <= 80


def test_long_line_is_a_problem(text_file: OpenText) -> None:
    file = text_file('{"a": "' + "x" * 2000 + '"}\n{"a": 1}\n', max_row_bytes=1024)
    problem, fine = objects(file.lines(), file)
    assert isinstance(problem, Problem)
    assert (problem.code, problem.origin.line) == ("data/row-too-long", 1)
    assert fine == (2, {"a": 1})


def test_what_is_allowed() -> None:
    line = ' {"text": "\\ud83d\\ude00 \\u00e9", "n": -1.5e3, "big": 12345678901234567890, "list": [true, null, {}]}\r'
    assert parse_object(line) == {
        "text": "😀 é",
        "n": -1500.0,
        "big": 12345678901234567890,
        "list": [True, None, {}],
    }


def test_nesting_of_exactly_the_limit_is_read() -> None:
    assert parse_object('{"a": ' * MAX_DEPTH + "1" + "}" * MAX_DEPTH)


def test_brackets_inside_strings_are_no_nesting() -> None:
    text = "[{" * 1000 + '\\"[['
    assert parse_object(f'{{"text": "{text}"}}') == {"text": text.replace('\\"', '"')}


@pytest.mark.parametrize(
    "line",
    [
        '{"a": "' + '\\"' * 500_000 + "{" * 65,  # a string that never closes, full of escaped quotes
        '{"a": "' + "{" * 65 + "\\" * 1_000_001,
        "{" + ", ".join(f'"{i}": 1' for i in range(100_000)) + ', "99999": [' + "[]," * 70 + "1]}",
    ],
)
def test_hostile_lines_take_linear_time(line: str) -> None:
    with pytest.raises(ValueError, match=r"not JSON|twice"):
        parse_object(line)
