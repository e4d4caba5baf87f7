"""The first row is taken as a header, or as a row, or refused: never eaten on a guess."""

from __future__ import annotations

import pytest

from burnish.data.header import detect_header
from burnish.errors import DataReadError

LONG = "a text that is clearly much longer than any name"


def detected(text: str, *expected_names: str) -> bool:
    return detect_header([line.split("|") for line in text.split("\n")], expected_names, "rows.csv", 1)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("text|label\nhello|a\nyou|b", True),  # known names
        ("Review Text|Category\nhello|a\nyou|b", True),  # one known name is enough
        ("|text|label\n0|hello|a\n1|you|b", True),  # the unnamed first column of a data frame
        ("text|label\ntext|a\ntext|b", True),  # nothing but known names
        ("utt|label\nhello|a\nutt|label\nyou|a", True),  # two files joined into one
        ("ham|hello\nspam|you\nham|me\nspam|us", False),  # "ham" reappears among few values
        ("label|hello\nspam|you\nlabel|me\nspam|us", False),  # even when it is a known name
        ("hello|1\nyou|0\nme|1", False),
        ("hello|2.5\nyou|0.25\nme|1e-3", False),  # a number heads no column of numbers
        ("utt|klass\nhello|1\nyou|2", True),  # a name over numbers
        (f"utt|klass\n{LONG}|a\n{LONG} indeed|b", True),  # a short name over long texts
        ("a|b|c\n1|2|3", True),
    ],
)
def test_clear_cases(text: str, header: bool) -> None:
    assert detected(text) is header


def test_names_in_the_recipe_settle_it() -> None:
    assert detected("utt|klass\nhello|a\nyou|b", "klass") is True
    assert detected("utt|klass\nhello|a\nyou|b", "column2", "column1") is False


@pytest.mark.parametrize(
    "text",
    [
        "hello|greeting\nyou|pronoun\nme|other",  # short words over short words
        "Where is my card, please?|card\nhello|b\nyou|c",  # a sentence is no name, "card" comes once
        f"same|same\n{LONG}|1\n{LONG}|2",  # names differ from each other
        "hello|greeting",  # nothing to compare with
    ],
)
def test_unclear_cases_are_refused_with_the_line_to_write(text: str) -> None:
    with pytest.raises(DataReadError) as caught:
        detected(text)
    error = caught.value
    assert (error.code, error.where) == ("data/header-unclear", "rows.csv:1")
    assert text.split("\n")[0].replace("|", " | ") in error.message
    assert error.hint is not None
    assert "`data: {header: true}`" in error.hint
    assert "`data: {header: false}`" in error.hint
