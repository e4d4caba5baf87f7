"""Other spellings: what is changed in a text, and what the metric loses by it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from burnish.evaluation.metrics.classification import Accuracy
from burnish.evaluation.options import EvaluationOptions
from burnish.evaluation.spellings import SPELLINGS, judge_spellings, with_other_spaces, with_typos
from burnish.types import Row

TEXT = "where is my lost card, please tell me."


def test_a_typo_keeps_the_number_of_characters_and_most_of_them() -> None:
    texts = {with_typos(TEXT, random.Random(seed)) for seed in range(50)}
    assert len(texts) > 10
    assert all(len(text) == len(TEXT) and text != TEXT for text in texts)
    assert all(sum(a != b for a, b in zip(text, TEXT, strict=True)) <= 2 for text in texts)
    assert with_typos(TEXT, random.Random(3)) == with_typos(TEXT, random.Random(3))


@pytest.mark.parametrize("text", ["", "1234", "?!", "я"])
def test_what_has_no_letters_of_the_keyboard_stays_readable(text: str) -> None:
    assert len(with_typos(text, random.Random(0))) == len(text)


def test_capitals_stay_capitals() -> None:
    assert with_typos("A", random.Random(0)) == "S"


def test_other_spaces_keep_the_words() -> None:
    found = with_other_spaces(TEXT, random.Random(0))
    assert found.startswith(" ")
    assert found.split()[:-1] == TEXT.split()[:-1]
    assert with_other_spaces("card", random.Random(1)).strip(" .!") == "card"


def test_the_drop_is_paired_and_says_how_many_answers_changed() -> None:
    rows: list[Row] = [{"text": f"Card {i}", "label": "a"} for i in range(60)]

    def answer(some: Sequence[Row]) -> list[Any]:
        return ["a" if row["text"].startswith("Card") else "b" for row in some]

    found = judge_spellings(
        rows,
        ["text"],
        ["a"] * 60,
        answer(rows),
        answer,
        Accuracy(),
        options=EvaluationOptions(robustness_rows=40, resamples=100),
        seed=0,
    )
    assert (found["n"], found["metric"], found["value"]) == (40, "accuracy", 1.0)
    assert list(found["kinds"]) == list(SPELLINGS)
    upper = found["kinds"]["upper"]
    assert (upper["value"], upper["changed"], upper["drop"]["value"]) == (0.0, 1.0, 1.0)
    assert rows[0]["text"] == "Card 0"
