"""A tuned recommendation that answers: the items of its catalogue whose vectors lie closest to that of a history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from burnish.evaluation.metrics.retrieval import DEPTH
from burnish.serving.embedding_package import CATALOGUE, VECTORS
from burnish.serving.predict import Predictor
from burnish.storage.tensors import load_tensors
from burnish.task.recommendation import Recommendation
from burnish.types import Row


class Recommender:
    """Recommends with a tuned model.

    Args:
        final: the run's `final` folder.
        runs: where earlier runs are.
    """

    def __init__(self, final: Path, *, runs: Path) -> None:
        self.predictor = Predictor(final, runs=runs, task=Recommendation)  # which checks the folder's manifest
        self._items: list[str] = json.loads((final / CATALOGUE).read_text(encoding="utf-8"))
        self._vectors_ND = load_tensors(final / VECTORS)["items"].numpy()

    def recommend(self, given: Sequence[str | Row]) -> list[Row]:
        """{"items": the best ten, the best one first, none of those given} for each history.

        Args:
            given: {"items": [...]}, what was chosen so far, oldest first, or one item as a text. Items that the
                training rows do not hold are read all the same.

        Raises:
            DataProblemError: [predict/bad-text] when something is no list of texts.
        """
        return self.best_of(given, self.predictor.predict(given))

    def best_of(self, given: Sequence[str | Row], found: Sequence[Row]) -> list[Row]:
        """The same, given the vectors of the histories."""
        return [
            {"items": self._best(np.array(row["embedding"]), [one] if isinstance(one, str) else one["items"])}
            for one, row in zip(given, found, strict=True)
        ]

    def _best(self, vector_D: np.ndarray, known: Sequence[str]) -> list[str]:
        order = np.argsort(-(self._vectors_ND @ vector_D), kind="stable")[: DEPTH + len(known)]
        return [item for item in (self._items[index] for index in order) if item not in known][:DEPTH]
