"""Choosing trees: the grid is searched on validation rows, and the same rows give the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from burnish.method.trees import GRID, choose_trees


def table(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    inputs = random.normal(0, 1, (rows, 4))
    return inputs, ((inputs[:, 0] > 0) ^ (inputs[:, 1] > 0)).astype(int)


def test_the_best_of_the_grid_is_kept_with_its_settings() -> None:
    seen: list[float] = []
    scores = iter([0.1, 0.4, 0.4, 0.2])

    def score(predictions: np.ndarray) -> float:
        seen.append(float(predictions[0, 1]))
        return next(scores)

    train, validation = table(300, 0), table(100, 1)
    found = choose_trees(*train, *validation, score, classes=2, categorical=[], seed=1, threads=1)
    assert len(seen) == len(GRID)
    assert found.validation_score == 0.4
    assert (found.settings["num_leaves"], found.settings["min_data_in_leaf"]) == (7, 15)  # the first of two equal ones
    assert found.settings["num_threads"] == 1


def test_trees_learn_what_no_line_can_and_repeat_their_bits() -> None:
    train, validation = table(300, 0), table(200, 1)

    def score(predictions: np.ndarray) -> float:
        return float((predictions.argmax(axis=1) == validation[1]).mean())

    first, second = (
        choose_trees(*train, *validation, score, classes=2, categorical=[], seed=1, threads=1) for _ in range(2)
    )
    assert first.trees.text == second.trees.text
    assert first.validation_score > 0.9


def test_weights_move_the_probabilities() -> None:
    inputs, targets = np.arange(200.0)[:, None] % 7, np.repeat([0, 1], [150, 50])

    def share(weights: np.ndarray | None) -> float:
        options: Any = {"classes": 2, "categorical": [], "weights_N": weights, "seed": 1, "threads": 1}
        found = choose_trees(inputs, targets, inputs, 1 - targets, lambda _: 0.0, **options)
        return float(found.trees.predict(inputs)[:, 1].mean())

    assert share(np.where(targets == 1, 3.0, 1.0)) > share(None)
