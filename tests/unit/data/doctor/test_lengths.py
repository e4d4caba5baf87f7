"""Lengths, and what a base would cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from burnish.data.doctor.lengths import Limit, length_histogram, truncation

WORDS = Limit("tiny", 5, lambda texts: np.array([len(text.split()) for text in texts]))


def test_histogram(subject: Any) -> None:
    shown = length_histogram(subject(["a" * 10, "a" * 30, "a" * 700]))
    assert (shown["median"], shown["longest"], shown["longest_at"]) == (30, 700, "rows.csv:4")
    assert [edge for edge, rows in shown["histogram"] if rows] == [1, 20, 500]
    assert length_histogram(subject([])) == {}


def test_rows_over_the_limit(subject: Any) -> None:
    (found,) = truncation(subject(["a b c d e", "a b c d e f g"]), WORDS)
    assert (found.code, found.severity, found.count) == ("data/too-long", "warning", 1)
    assert found.details[0] == "rows.csv:3: 7 tokens"
    assert list(truncation(subject(["a b c d e"]), WORDS)) == []


def test_it_says_when_it_is_the_answer(subject: Any) -> None:
    rows = [{"prompt": "a b c d e f", "completion": "g"}, {"prompt": "a", "completion": "b c d e f"}]
    (found,) = truncation(subject(rows), WORDS)
    assert (found.severity, found.count) == ("error", 2)
    assert "the end of the answer would be cut, and all of it in 1 rows" in found.what
