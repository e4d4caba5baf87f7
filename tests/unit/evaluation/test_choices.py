"""What recommendations can do untuned: scores by hand."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.choices import Choices, popularity_vectors, successor_vectors

ITEMS = ["bread", "butter", "jam", "tea"]
SEQUENCES = [["bread", "butter", "jam"], ["bread", "jam"], ["tea", "bread", "butter"], ["jam"]]


@pytest.fixture
def trial() -> Choices:
    """After bread somebody chooses jam; after something unknown, bread."""
    return Choices(
        queries=["bread", "caviar"],
        documents=ITEMS,
        relevant=[np.array([2]), np.array([0])],
        itself=[np.array([0]), np.array([], np.int64)],
        rows=[0, 1],
        last=[0, None],
    )


def test_popularity(trial: Choices) -> None:
    queries, items = popularity_vectors(SEQUENCES, trial)
    assert (queries @ items.T).tolist() == [[3, 2, 3, 1]] * 2
    assert trial.answers(queries, items) == [(1,), (1,)]  # bread is known to the first one: jam comes first


def test_successors(trial: Choices) -> None:
    queries, items = successor_vectors(SEQUENCES, trial)
    scores = (queries @ items.T).toarray()
    np.testing.assert_allclose(scores, [[0.75, 2.5, 1.75, 0.25], [0.75, 0.5, 0.75, 0.25]])
    assert trial.answers(queries, items) == [(2,), (1,)]


def test_what_is_known_is_not_found(trial: Choices) -> None:
    everything = np.ones((2, 1)), np.array([[9.0], [1.0], [2.0], [3.0]])
    assert trial.first_found(*everything) == ["tea", "bread"]
