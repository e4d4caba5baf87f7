"""Imbalance, rare labels, groups, and too few rows."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.data.doctor.classes import groups, imbalance, too_few


def codes(found: Any) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in found]


@pytest.mark.parametrize(
    ("large", "expected"),
    [(30, []), (31, [("data/imbalance", "info")]), (101, [("data/imbalance", "warning")])],
)
def test_imbalance(subject: Any, large: int, expected: list[tuple[str, str]]) -> None:
    labels = ["a"] * large + ["b"] * 10
    assert codes(imbalance(subject(["x"] * len(labels), labels))) == expected


def test_rare_labels_are_counted_and_named(subject: Any) -> None:
    labels = ["a"] * 20 + ["b"] * 20 + ["c"] * 9
    (found,) = imbalance(subject(["x"] * 49, labels))
    assert (found.code, found.count, found.details) == ("data/rare-label", 9, ('"c": 9',))


def test_rows_without_labels_are_not_imbalanced(subject: Any) -> None:
    assert list(imbalance(subject(["x"]))) == []


def test_groups_show_their_label_rates(subject: Any) -> None:
    made = subject(["x"] * 80, ["yes"] * 30 + ["no"] * 50)
    (found,) = groups(made, "site", ["A"] * 40 + ["B"] * 40)
    assert found.details == ('A: 40 rows, 50.0%; "no" 25.0%, "yes" 75.0%', 'B: 40 rows, 50.0%; "no" 100.0%, "yes" 0.0%')
    assert (found.severity, found.count) == ("info", 0)
    (found,) = groups(made, "site", ["A"] * 60 + ["B"] * 20)
    assert (found.severity, found.count) == ("warning", 20)


@pytest.mark.parametrize(
    ("rows", "parameters", "expected"),
    [
        (500, 22_000_000, "data/few-rows"),
        (500, 1_000_000_000, "data/too-few-for-base"),
        (5_000, 1_000_000_000, None),
        (5_000, None, None),
        (100_001, None, "data/many-rows"),
    ],
)
def test_rules_of_thumb(subject: Any, rows: int, parameters: int | None, expected: str | None) -> None:
    found = [finding.code for finding in too_few(subject(["x"] * rows), parameters)]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("row", "help_text"),
    [
        ({"text": "a", "label": "x"}, "`method: lora` or `method: head` change few weights; more rows help most"),
        ({"text": "a", "score": 1.0}, "`method: lora` changes few weights; more rows help most"),
        ({"first": "a", "second": "b", "label": "x"}, "`method: lora` changes few weights; more rows help most"),
        ({"features": {"age": 3}, "target": "x"}, "more rows help most"),
    ],
)
def test_few_rows_name_methods_that_these_rows_have(subject: Any, row: dict[str, Any], help_text: str) -> None:
    assert [finding.fix for finding in too_few(subject([row]), None)] == [help_text]
