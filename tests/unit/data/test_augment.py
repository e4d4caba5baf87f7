"""Noisy copies: new texts with an old label, the same for the same seed, marked as made."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.augment import noisy_copies, slip
from burnish.data.deduplicate import normal_form
from burnish.types import Example, Origin, Provenance


def rows(*texts: str) -> list[Example]:
    return [Example({"text": text, "label": "x"}, Origin("f", i), {"user": "u"}) for i, text in enumerate(texts)]


def test_copies_are_new_marked_and_keep_label_and_place() -> None:
    examples = rows("Where is my card today?", "I want my money back now")
    made = noisy_copies(examples, 3, seed=1)
    assert len(made) == 6
    assert len({normal_form(e.row) for e in [*examples, *made]}) == 8
    assert {e.provenance for e in made} == {Provenance.SYNTHETIC}
    assert [(e.origin.line, e.row["label"], e.extra["user"]) for e in made] == [(i // 3, "x", "u") for i in range(6)]
    assert noisy_copies(examples, 0, seed=1) == []


def test_what_is_made_depends_on_the_seed_and_the_text_only() -> None:
    examples = rows("Where is my card today?", "I want my money back now", "nothing works here at all")
    made = {e.row["text"] for e in noisy_copies(examples, 2, seed=1)}
    assert {e.row["text"] for e in noisy_copies(examples[::-1], 2, seed=1)} == made
    assert {e.row["text"] for e in noisy_copies(examples, 2, seed=2)} != made


def test_a_text_without_variants_gets_fewer_copies() -> None:
    assert noisy_copies(rows("7"), 5, seed=1) == []
    assert [e.row["text"] for e in noisy_copies(rows("a"), 5, seed=1)] == ["A"]


@given(st.text(max_size=30), st.integers(0, 1000))
def test_a_slip_is_small(text: str, seed: int) -> None:
    found = slip(text, random.Random(seed))
    assert len(found) <= len(text) + 3  # one letter more, or a letter whose small form is longer
    assert len(text.split(" ")) - len(found.split(" ")) in (0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_label_and_other_values_stay(seed: int) -> None:
    example = Example({"text": "one two three four", "label": "Keep Me", "n": 3}, Origin("f", 1))
    for copy in noisy_copies([example], 2, seed):
        assert (copy.row["label"], copy.row["n"]) == ("Keep Me", 3)
