"""Texts with labels as pairs: each text once as an anchor and once as a positive."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from burnish.task.pairing import paired

labels = st.lists(st.sampled_from("ABC"), min_size=1, max_size=30)


def rows_of(labels: list[str]) -> list[dict[str, str]]:
    return [{"text": f"text {index}", "label": label} for index, label in enumerate(labels)]


@given(labels=labels, seed=st.integers(0, 99))
def test_every_text_is_an_anchor_and_a_positive_once(labels: list[str], seed: int) -> None:
    rows = rows_of(labels)
    counts, label_of = Counter(labels), {row["text"]: row["label"] for row in rows}
    pairs = paired(rows, rows, seed=seed)
    assert [pair is None for pair in pairs] == [counts[label] == 1 for label in labels]
    found = [pair for pair in pairs if pair is not None]
    for pair in found:
        assert pair["anchor"] != pair["positive"]
        assert label_of[pair["anchor"]] == label_of[pair["positive"]] == pair["label"]
    assert sorted(pair["anchor"] for pair in found) == sorted(pair["positive"] for pair in found)


def test_the_seed_decides() -> None:
    rows = rows_of(["A"] * 12)
    assert paired(rows, rows, seed=1) == paired(rows, rows, seed=1)
    assert paired(rows, rows, seed=1) != paired(rows, rows, seed=2)


def test_other_rows_take_the_texts_in_turn() -> None:
    among = rows_of(["A", "A", "B"])
    asked = [{"text": name, "label": label} for name, label in (("p", "A"), ("q", "A"), ("r", "B"), ("s", "C"))]
    pairs = paired(asked, among, seed=0)
    assert pairs[3] is None
    first, second, third = (pair["positive"] for pair in pairs[:3] if pair is not None)
    assert {first, second} == {"text 0", "text 1"}
    assert third == "text 2"
