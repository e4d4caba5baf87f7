"""Texts of any row with their roles, and findings in their order."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.data.doctor.finding import PLACES, Finding, by_importance, texts_of


def finding(severity: Any, count: int) -> Finding:
    return Finding(code=f"data/{severity}", severity=severity, count=count, share=0.1, what="is", fix="do")


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"text": "a", "label": "b"}, [("input", "a")]),
        ({"text": "a", "labels": ["b"], "score": 1.0}, [("input", "a")]),
        ({"source": "a", "target": "b"}, [("input", "a"), ("answer", "b")]),
        ({"prompt": "a", "completion": "b"}, [("input", "a"), ("answer", "b")]),
        ({"tokens": ["a", "b"], "tags": ["O", "O"]}, [("input", "a b")]),
        ({"anchor": "a", "positive": "b", "negative": "c"}, [("input", "a"), ("input", "b"), ("input", "c")]),
        ({"features": {"age": 3, "job": "clerk"}, "target": "yes"}, [("cell", "clerk")]),
        ({"user": "u1", "item": "i7", "time": 3.0, "title": "rye bread"}, [("cell", "rye bread")]),
        (
            {
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "image_url"}]},
                    {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]},
                ],
                "tools": [{"name": "t"}],
            },
            [("system", "s"), ("input", "u\n"), ("answer", '[{"id": 1}]')],
        ),
        (
            {
                "prompt": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "before"}],
                "chosen": [{"role": "assistant", "content": "c"}],
                "rejected": "r",
            },
            [("input", "u"), ("input", "before"), ("answer", "c"), ("rejected", "r")],
        ),
        ({"text": None, "other": 3}, []),
        ({"messages": [None, 3, {}]}, [("input", "")]),
    ],
)
def test_texts_of_a_row(row: dict[str, Any], texts: list[tuple[str, str]]) -> None:
    assert texts_of(row) == texts


def test_errors_first_then_the_most_rows() -> None:
    found = [finding("info", 9), finding("warning", 1), finding("warning", 5), finding("error", 1)]
    assert [(f.severity, f.count) for f in by_importance(found)] == [
        ("error", 1),
        ("warning", 5),
        ("warning", 1),
        ("info", 9),
    ]


def test_a_finding_names_its_rows_once_in_order(subject: Any) -> None:
    made = subject([f"row {number}" for number in range(3_000)]).finding("data/x", "info", [7, 2, 7], "is", "do")
    assert (made.count, made.share) == (2, 2 / 3_000)
    assert made.as_dict()["places"] == ["rows.csv:4", "rows.csv:9"]
    assert len(subject(["a"] * 12_000).finding("data/x", "info", range(12_000), "is", "do").places) == PLACES


def test_rows_are_joined_by_role(subject: Any) -> None:
    made = subject([{"prompt": "a", "completion": "b"}, {"text": "c"}, {"score": 1}])
    assert made.inputs == ["a", "c", ""]
    assert made.contents == ["a\nb", "c", ""]
    assert made.labels is None


def test_rows_without_a_text_are_no_duplicates_of_each_other(subject: Any) -> None:
    assert subject([{"score": 1}, {"score": 1}, {"text": "a"}]).clusters.tolist() == [0, 1, 2]
