"""What vectors of texts are judged by: a search for documents that are relevant, or pairs of texts with a score.

Both have two sides of texts; an answer is made of the vectors of both sides, dense or sparse, whose products are the
similarities.

Shapes: Q queries, N documents, B pairs, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.evaluation.metrics.resampling import Array
from burnish.evaluation.metrics.retrieval import DEPTH, Places
from burnish.types import Row

SCORES_AT_ONCE = 4_000_000  # similarities in memory at once


@dataclass(frozen=True, slots=True)
class Search:
    """Queries, documents, and the documents that are relevant to each query.

    Attributes:
        queries: each has a relevant document.
        documents: all different.
        relevant: numbers of documents, sorted, for each query.
        itself: the document that is the query's own text and is not searched for, or several documents that the
            query knows already; None where there is none.
        rows: the row of the data that each query is of.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    relevant: Sequence[Array]
    itself: Sequence[int | Array | None]
    rows: Sequence[int]

    @property
    def sides(self) -> tuple[Sequence[str], Sequence[str]]:
        return self.queries, self.documents

    @property
    def references(self) -> list[int]:
        """How many documents are relevant to each query."""
        return [len(found) for found in self.relevant]

    def answers(self, query_vectors: Any, document_vectors: Any) -> list[Places]:
        """The places of relevant documents among the first DEPTH that each query finds; the most similar comes first.

        Args:
            query_vectors: (Q, D).
            document_vectors: (N, D). Of equally similar documents the earlier one comes first.
        """
        found: list[Places] = []
        for start, scores_QN in self._similarities(query_vectors, document_vectors):
            for index, scores_N in enumerate(scores_QN, start):
                hit = np.isin(_first(scores_N), self.relevant[index])
                found.append(tuple((np.flatnonzero(hit) + 1).tolist()))
        return found

    def first_found(self, query_vectors: Any, document_vectors: Any) -> list[str]:
        """The document that each query finds first."""
        return [
            self.documents[int(scores_N.argmax())]
            for _, scores_QN in self._similarities(query_vectors, document_vectors)
            for scores_N in scores_QN
        ]

    def _similarities(self, query_vectors: Any, document_vectors: Any) -> Iterator[tuple[int, Array]]:
        """Blocks of queries: the number of the first one, and (Q', N) similarities."""
        size = max(1, SCORES_AT_ONCE // len(self.documents))
        for start in range(0, len(self.queries), size):
            scores = query_vectors[start : start + size] @ document_vectors.T
            scores_QN = np.array(scores.toarray() if hasattr(scores, "toarray") else scores, dtype=np.float32)
            for index, scores_N in enumerate(scores_QN, start):
                if self.itself[index] is not None:
                    scores_N[self.itself[index]] = -np.inf
            yield start, scores_QN


@dataclass(frozen=True, slots=True)
class ScoredTexts:
    """Pairs of texts, and a number that is higher the more alike they are."""

    first: Sequence[str]
    second: Sequence[str]
    references: Sequence[float]

    @property
    def sides(self) -> tuple[Sequence[str], Sequence[str]]:
        return self.first, self.second

    @property
    def rows(self) -> Sequence[int]:
        """The row of the data that each pair is of."""
        return range(len(self.first))

    def answers(self, first_vectors: Any, second_vectors: Any) -> list[float]:
        """The similarity of each pair; vectors (B, D)."""
        if hasattr(first_vectors, "multiply"):
            return np.asarray(first_vectors.multiply(second_vectors).sum(axis=1)).ravel().tolist()
        similarity_B: list[float] = np.einsum("bd,bd->b", first_vectors, second_vectors).tolist()
        return similarity_B


def search_of_pairs(rows: Sequence[Row]) -> Search:
    """Each different anchor searches the different positives and negatives of all rows for its own positives."""
    documents = _numbered(row[name] for row in rows for name in ("positive", "negative") if name in row)
    positives: dict[str, set[int]] = {}
    first: dict[str, int] = {}
    for index, row in enumerate(rows):
        positives.setdefault(row["anchor"], set()).add(documents[row["positive"]])
        first.setdefault(row["anchor"], index)
    relevant = [np.array(sorted(found)) for found in positives.values()]
    own = [documents.get(query) for query in positives]
    itself = [None if one in set(found.tolist()) else one for one, found in zip(own, relevant, strict=True)]
    return Search(list(positives), list(documents), relevant, itself, list(first.values()))


def search_of_labels(rows: Sequence[Row], searched: Sequence[Row]) -> Search:
    """Each row searches other rows for those of its label; a query whose label none of them has is left out."""
    documents = _numbered(row["text"] for row in searched)
    of_label: dict[str, set[int]] = {}
    for row in searched:
        of_label.setdefault(row["label"], set()).add(documents[row["text"]])
    relevant_to: Mapping[str, Array] = {label: np.array(sorted(found)) for label, found in of_label.items()}
    asked = [index for index, row in enumerate(rows) if row["label"] in relevant_to]
    return Search(
        queries=[rows[index]["text"] for index in asked],
        documents=list(documents),
        relevant=[relevant_to[rows[index]["label"]] for index in asked],
        itself=[None] * len(asked),  # no text is in two parts of the data
        rows=asked,
    )


def _first(scores_N: Array) -> Array:
    """The documents with the DEPTH highest scores, in order."""
    depth = min(DEPTH, len(scores_N))
    least = np.partition(scores_N, len(scores_N) - depth)[len(scores_N) - depth]
    among = np.flatnonzero(scores_N >= least)
    return np.asarray(among[np.argsort(-scores_N[among], kind="stable")][:depth])


def _numbered(texts: Iterable[str]) -> dict[str, int]:
    """Different texts with their numbers, in order."""
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}
