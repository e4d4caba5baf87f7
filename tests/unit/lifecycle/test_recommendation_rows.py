"""What rows of choices become: by hand."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.errors import DataProblemError
from burnish.lifecycle.embedding_rows import learned_pairs, trial_of, validation_pairs
from burnish.lifecycle.recommendation_rows import catalogue, choices_of, histories, sequences
from burnish.types import Example, Origin, Split


def rows(*choices: str) -> list[Example]:
    """Choices such as "anna bread 3": who, what, when."""
    said = [choice.split() for choice in choices]
    return [
        Example({"user": user, "item": "7", "title": item, "time": float(time)}, Origin("f", line))
        for line, (user, item, time) in enumerate(said, start=1)
    ]


@pytest.fixture
def splits() -> dict[Split, list[Example]]:
    return {
        Split.TRAIN: rows("anna bread 1", "ben jam 1", "anna butter 2", "anna tea 3", "ben bread 4"),
        Split.VALIDATION: rows("anna jam 5", "ben tea 6"),
        Split.TEST: rows("zoe tea 1", "ben butter 9", "ben caviar 10"),
    }


def test_histories(splits: dict[Split, list[Example]]) -> None:
    learned = histories(splits, Split.TRAIN)
    assert [example.row for example in learned] == [
        {"user": "anna", "anchor": "bread", "positive": "butter"},
        {"user": "anna", "anchor": "butter; bread", "positive": "tea"},
        {"user": "ben", "anchor": "jam", "positive": "bread"},
    ]
    assert [str(example.origin) for example in learned] == ["f:3", "f:4", "f:5"]
    assert learned_pairs(splits[Split.TRAIN], seed=1) == (learned, [])
    pairs = validation_pairs(splits, seed=1)
    assert [example.row["anchor"] for example in pairs] == ["tea; butter; bread", "bread; jam"]


def test_items_and_their_order(splits: dict[Split, list[Example]]) -> None:
    assert catalogue(splits) == ["bread", "jam", "butter", "tea"]
    assert sequences(splits) == [["bread", "butter", "tea"], ["jam", "bread"]]


def test_the_search(splits: dict[Split, list[Example]]) -> None:
    """Zoe has no past, and caviar cannot be found: ben's butter is judged."""
    trial = choices_of(splits, Split.TEST)
    assert (trial.queries, trial.rows, trial.last) == (["tea; bread; jam"], [1], [3])
    np.testing.assert_array_equal(trial.relevant, [[2]])
    (known,) = trial.itself
    np.testing.assert_array_equal(known, [1, 0, 3])
    assert trial_of(splits, Split.TEST).rows == [1]


def test_nothing_to_find(splits: dict[Split, list[Example]]) -> None:
    with pytest.raises(DataProblemError) as caught:
        choices_of({**splits, Split.TEST: rows("zoe tea 1")}, Split.TEST)
    error = caught.value
    assert (error.code, error.where) == ("data/no-pairs", "f:1")
    assert error.message.startswith("none of the test rows is a next choice")
    assert error.hint == "give rows of users that the training rows hold"


def test_nothing_to_learn() -> None:
    with pytest.raises(DataProblemError) as caught:
        learned_pairs(rows("anna tea 1", "ben tea 1"), seed=1)
    error = caught.value
    assert (error.code, error.where, error.hint) == ("data/no-pairs", "f:1", "give more rows of each user")
    assert error.message == "no user has two of the 2 training rows: there is nothing that came next"
