"""What is searched, what is relevant, and the places it is found at."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from burnish.evaluation.similarity import ScoredTexts, search_of_labels, search_of_pairs

PAIRS = [
    {"anchor": "q1", "positive": "d1", "negative": "d9"},
    {"anchor": "q2", "positive": "d2", "negative": "d1"},
    {"anchor": "q1", "positive": "d3", "negative": "d9"},
    {"anchor": "d2", "positive": "d3", "negative": "d1"},
]


def test_pairs() -> None:
    """Anchors ask once, documents are there once; an anchor that is a document does not find itself."""
    search = search_of_pairs(PAIRS)
    assert search.queries == ["q1", "q2", "d2"]
    assert search.documents == ["d1", "d9", "d2", "d3"]
    assert [found.tolist() for found in search.relevant] == [[0, 3], [2], [3]]
    assert search.itself == [None, None, 2]
    assert search.rows == [0, 1, 3]


def test_an_anchor_that_is_its_own_positive_finds_it() -> None:
    search = search_of_pairs([{"anchor": "a", "positive": "a"}, {"anchor": "b", "positive": "c"}])
    assert search.itself == [None, None]


def test_labels() -> None:
    """A label that no searched row has cannot be found."""
    searched = [{"text": "x", "label": "A"}, {"text": "y", "label": "B"}, {"text": "z", "label": "A"}]
    search = search_of_labels([{"text": "p", "label": "C"}, {"text": "q", "label": "A"}], searched)
    assert (search.queries, search.documents, search.rows) == (["q"], ["x", "y", "z"], [1])
    assert [found.tolist() for found in search.relevant] == [[0, 2]]


def test_places() -> None:
    """q1 is nearest to d9, then d1 and d3 alike; q2 finds its document last; d2 finds d3, because not itself."""
    search = search_of_pairs(PAIRS)
    documents = np.array([[1.0, 0], [1.2, 0], [0, 1], [1, 0.1]])
    queries = np.array([[1.0, 0], [1, 0.5], [0, 1]])
    wanted = [(2, 3), (4,), (1,)]
    assert search.answers(queries, documents) == wanted
    assert search.answers(csr_matrix(queries), csr_matrix(documents)) == wanted
    assert search.first_found(queries, documents) == ["d9", "d9", "d3"]


def test_only_the_first_ten_are_looked_at() -> None:
    rows = [{"anchor": f"q{i}", "positive": f"d{i}"} for i in range(12)]
    similar = np.arange(12.0)[:, None]
    assert search_of_pairs(rows).answers(np.ones((12, 1)), similar) == [(), (), *((12 - i,) for i in range(2, 12))]


def test_pairs_with_a_score() -> None:
    scored = ScoredTexts(["a", "b"], ["c", "d"], [1.0, 2.0])
    first, second = np.array([[1.0, 0], [0.6, 0.8]]), np.array([[0.0, 1], [0.6, 0.8]])
    assert scored.answers(first, second) == [0.0, 1.0]
    assert scored.answers(csr_matrix(first), csr_matrix(second)) == [0.0, 1.0]
    assert (scored.sides, list(scored.rows)) == ((["a", "b"], ["c", "d"]), [0, 1])
