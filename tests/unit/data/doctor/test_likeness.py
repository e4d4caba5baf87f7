"""What real inputs have and the data lacks."""

from __future__ import annotations

import random
from typing import Any

from burnish.data.doctor.likeness import likeness
from burnish.types import Origin

CARDS = ["card", "lost", "stolen", "bank", "replace", "order", "arrive", "pin", "machine", "pay", "cash"]
TRAVEL = ["flight", "hotel", "airport", "luggage", "boarding", "seat", "passport"]


def sentences(words: list[str], rows: int, seed: int) -> list[str]:
    chooser = random.Random(seed)
    return [" ".join(chooser.choices(words, k=8)) for _ in range(rows)]


def compare(subject: Any, own: list[str], real: list[str], **more: Any) -> dict[str, Any]:
    places = [Origin("real.csv", line) for line in range(2, len(real) + 2)]
    return {finding.code: finding for finding in likeness(subject(own), real, places, **more)}


def test_a_topic_that_is_missing(subject: Any) -> None:
    real = sentences(CARDS, 60, 2) + sentences(TRAVEL, 40, 3)
    found = compare(subject, sentences(CARDS, 200, 1), real)
    far = found["data/unlike-inputs"]
    assert far.severity == "warning"
    assert {place.line for place in far.places} >= set(range(62, 102))
    assert "luggage" in found["data/missing-words"].what


def test_inputs_like_the_data(subject: Any) -> None:
    assert compare(subject, sentences(CARDS, 300, 1), sentences(CARDS, 200, 2)) == {}


def test_nothing_to_compare(subject: Any) -> None:
    assert compare(subject, ["a b"], ["c d"]) == {}
    assert compare(subject, ["a b", "b c"], []) == {}
    assert "data/missing-words" not in compare(subject, ["!", "?"], ["¡", "¿"])
