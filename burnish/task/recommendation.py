"""Recommendations: what somebody chooses next, from what was chosen before.

Two towers that are one encoder: the vector of a history lies close to those of the items that are chosen next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from burnish.data.interactions import history_text
from burnish.task.embedding import Embedding, ScoredPairs, identity
from burnish.types import Row


class Recommendation(Embedding):
    """Rows of a user, a text of what the user chose before the moment, and the item that was chosen next.

    The choices of the other rows of a step are the wrong answers, but for those of the same user and of the same item.
    """

    name: ClassVar[str] = "recommendation"
    columns: ClassVar[Mapping[str, type]] = {"user": str, "anchor": str, "positive": str}
    metrics: ClassVar[tuple[str, ...]] = ("recall@10", "ndcg@10", "recall@1", "mrr@10")
    row_kinds: ClassVar[tuple[str, ...]] = ("recommendation",)
    learns_from: ClassVar[str] = "rows that say who chose what and when"
    row_example: ClassVar[str] = 'choice: {"user": ..., "item": ..., "time": ..., "title": ...}'

    def _targets(self, row: Row, segments: Sequence[np.ndarray]) -> np.ndarray:
        """The user for the history, which makes choices of one user no wrong answers to each other; the item."""
        known = [identity(str(row.get("user")).encode()), identity(segments[-1].tobytes())]
        return np.array(known[-len(segments) :], dtype=np.int64)

    def asked(self, given: Row | str) -> Row:
        """The history as a text: of {"items": [...]}, oldest first, or of one item that is given as a text."""
        if isinstance(given, str):
            return {"text": given}
        items = given.get("items")
        if isinstance(items, list) and items and all(isinstance(item, str) and item.strip() for item in items):
            return {"text": history_text(items)}
        return {"text": given["text"]} if "text" in given else {}


def class_for(first: Row) -> type[Embedding]:
    """The task's class for rows of data like the first one: choices, pairs with a score, or any others."""
    if "item" in first:
        return Recommendation
    return ScoredPairs if "score" in first else Embedding
