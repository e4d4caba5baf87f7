"""All checks together."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from burnish.data.doctor.examine import examine, left_out
from burnish.data.doctor.lengths import Limit
from burnish.types import Origin, Problem, Silent

SYLLABLES = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]


def sentences(rows: int) -> list[str]:
    """Sentences of made-up words, no two alike."""
    chooser = random.Random(7)
    words = ["".join(chooser.choices(SYLLABLES, k=chooser.randint(2, 4))) for _ in range(2_000)]
    return [" ".join(chooser.choices(words, k=14)) for _ in range(rows)]


def run(subject: Any, **more: Any) -> list[Any]:
    arguments: dict[str, Any] = {"groups": {}, "limit": None, "base_parameters": None, "progress": Silent()}
    return examine(subject, **(arguments | more))


def test_nothing_in_a_clean_control(subject: Any) -> None:
    assert run(subject(sentences(1_500), ["a", "b", "c"] * 500)) == []


def test_the_most_important_comes_first(subject: Any) -> None:
    rows = sentences(60)
    rows += [rows[0] + "!", "AKIAIOSFODNN7EXAMPLE is my key"]
    limit = Limit("tiny", 10, lambda texts: np.array([len(text.split()) for text in texts]))
    found = run(subject(rows, ["a"] * 50 + ["b"] * 12), limit=limit, groups={"site": ["x"] * 62})
    assert [finding.code for finding in found] == [
        "data/secret",
        "data/too-long",
        "data/near-conflict",
        "data/near-duplicate",
        "data/few-rows",
        "data/groups",
        "data/imbalance",
    ]


@pytest.mark.parametrize("rows", [[], [""], [{"messages": []}], [{"score": 1.0}], [{"target": 1}], ["\ud800"]])
def test_odd_rows_break_nothing(subject: Any, rows: list[Any]) -> None:
    assert all(finding.severity in ("info", "warning") for finding in run(subject(rows)))


def test_rows_that_were_left_out() -> None:
    problems = [
        Problem("data/duplicate", "the same text and label as a.csv:2", Origin("a.csv", 3)),
        Problem("data/empty-text", "the text is empty", Origin("a.csv", 4)),
        Problem("data/empty-text", "the text is missing", Origin("a.csv", 5)),
    ]
    repeated, empty = left_out(problems, 10)
    assert (repeated.severity, repeated.count, repeated.share) == ("warning", 1, 0.1)
    assert (empty.severity, empty.what) == ("error", "cannot be used: e.g. the text is empty")
    assert empty.details == ("a.csv:4: the text is empty", "a.csv:5: the text is missing")


def test_rows_that_were_mended_as_asked_are_no_cause_for_worry() -> None:
    (found,) = left_out([Problem("data/redacted", "redacted: email 1", Origin("a.csv", 3), "changed")], 10)
    assert (found.severity, found.what) == ("info", "held personal data")


def test_no_model_library_is_loaded() -> None:
    code = "import burnish.data.doctor.examine, burnish.data.doctor.likeness, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
