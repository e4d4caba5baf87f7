"""Weights by hand and against scikit-learn; rows repeated and left out evenly, whatever their order."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from burnish.data.balance import class_weights, is_imbalanced, oversample, undersample
from burnish.types import Example, Origin


def rows(**counts: int) -> list[Example]:
    pairs = [(f"{label} {i}", label) for label, count in counts.items() for i in range(count)]
    return [Example({"text": text, "label": label}, Origin("f", i)) for i, (text, label) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("counts", "found"), [({"a": 30, "b": 10}, False), ({"a": 31, "b": 10}, True), ({"a": 1}, False), ({}, False)]
)
def test_imbalanced_is_over_three_to_one(counts: dict[str, int], found: bool) -> None:
    assert is_imbalanced(counts) is found


def test_weights_are_those_of_scikit_learn_and_one_on_average() -> None:
    counts = {"a": 70, "b": 25, "c": 5}
    labels = np.repeat(list(counts), list(counts.values()))
    expected = compute_class_weight("balanced", classes=np.array(list(counts)), y=labels)
    weights = class_weights(counts)
    assert list(weights.values()) == pytest.approx(expected)
    assert sum(weights[x] * n for x, n in counts.items()) == pytest.approx(100)


def test_oversampling_repeats_rows_evenly_at_the_end() -> None:
    examples = rows(a=10, b=4, c=1)
    more = oversample(examples, seed=1)
    assert more[:15] == examples
    assert Counter(e.row["label"] for e in more) == {"a": 10, "b": 10, "c": 10}
    assert sorted(Counter(e.row["text"] for e in more if e.row["label"] == "b").values()) == [2, 2, 3, 3]
    assert oversample([], seed=1) == []


def test_undersampling_keeps_the_order() -> None:
    examples = rows(a=50, b=4)
    fewer = undersample(examples, seed=1)
    assert Counter(e.row["label"] for e in fewer) == {"a": 4, "b": 4}
    assert [e.origin.line for e in fewer] == sorted(e.origin.line for e in fewer)
    assert undersample(examples, seed=2) != fewer


def test_the_order_of_the_rows_does_not_decide() -> None:
    examples = rows(a=30, b=7)
    shuffled = random.Random(1).sample(examples, 37)
    for change in (oversample, undersample):
        assert Counter(e.row["text"] for e in change(examples, 3)) == Counter(
            e.row["text"] for e in change(shuffled, 3)
        )
