"""What vectors show: the same meaning, outliers, topics."""

from __future__ import annotations

from typing import Any

import numpy as np

from burnish.data.doctor.meaning import meaning


def unit(vectors: Any) -> Any:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def cloud(rows: int, spread: float = 0.5) -> Any:
    generator = np.random.default_rng(1)
    return np.eye(1, 16) * 2 + spread * generator.standard_normal((rows, 16))


def codes(found: Any) -> dict[str, Any]:
    return {finding.code: finding for finding in found}


def test_same_meaning_with_different_labels(subject: Any) -> None:
    vectors = cloud(40, spread=1.0)
    vectors[7] = vectors[3] * 1.001
    texts = [f"{number} {'abcdefghij'[number % 10] * 20}{number}" for number in range(40)]
    found = codes(meaning(subject(texts, ["a"] * 7 + ["b"] * 33), unit(vectors)))["data/same-meaning"]
    assert (found.severity, found.count) == ("warning", 2)
    assert found.details == ("rows.csv:5 ~ rows.csv:9 (1.00)",)
    assert "1 of these pairs have different labels" in found.what


def test_an_outlier(subject: Any) -> None:
    vectors = cloud(60)
    vectors[11] = -vectors[11] * 5
    found = codes(meaning(subject([f"text {n}" for n in range(60)]), unit(vectors)))["data/outlier"]
    assert [str(place) for place in found.places] == ["rows.csv:13"]


def test_topics_and_the_nearly_empty_one(subject: Any) -> None:
    generator = np.random.default_rng(5)
    corners = np.repeat(np.eye(4, 16), (100, 100, 95, 5), axis=0)
    vectors = unit(corners + 0.02 * generator.standard_normal((300, 16)))
    found = codes(meaning(subject([f"text {n}" for n in range(300)]), vectors))["data/topics"]
    assert "rows fall into" in found.what
    assert sum(int(line.split()[0]) for line in found.details) == 300


def test_few_rows(subject: Any) -> None:
    assert list(meaning(subject([]), np.zeros((0, 4), np.float32))) == []
    assert list(meaning(subject(["a"]), np.eye(1, 4, dtype=np.float32))) == []
