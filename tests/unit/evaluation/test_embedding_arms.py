"""Searches by words against their formulas, worked out word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from burnish.evaluation.embedding_arms import bm25_vectors, tf_idf_vectors

QUERIES = ["my card card", "unknown words"]
DOCUMENTS = ["my card is lost", "my money", "lost lost card", "a transfer that is late"]


def test_bm25_by_its_formula() -> None:
    words = [document.split() for document in DOCUMENTS]
    mean = sum(map(len, words)) / len(words)

    def score(query: str, document: list[str]) -> float:
        total = 0.0
        for word in query.split():
            count, holding = document.count(word), sum(word in other for other in words)
            idf = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
            total += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(document) / mean))
        return total

    queries, documents = bm25_vectors((QUERIES, DOCUMENTS))
    wanted = [[score(query, document) for document in words] for query in QUERIES]
    np.testing.assert_allclose((queries @ documents.T).toarray(), wanted, rtol=1e-12)


def test_tf_idf_vectors_are_cosines() -> None:
    first, second = tf_idf_vectors(["some training text"], (QUERIES, DOCUMENTS))
    similar = (first @ second.T).toarray()
    assert similar[0].argmax() == 0
    assert similar[1].max() == 0.0
    itself, again = tf_idf_vectors([], (DOCUMENTS, DOCUMENTS))
    assert (itself @ again.T).diagonal() == pytest.approx(1.0)
