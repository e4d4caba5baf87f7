"""Gradient-boosted trees fitted to a table: what a tuned model has to beat there, and often does not.

Shapes: N training rows, V validation rows, I inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.model.trees import Trees, lightgbm, plain_text

Array = np.ndarray[Any, Any]
Score = Callable[[Array], float]  # predictions for the validation rows -> higher is better

# Leaves of a tree and rows a leaf needs, the simplest first: LightGBM's defaults are 31 and 20.
GRID = ((7, 20), (7, 100), (31, 20), (31, 100))
LEARNING_RATE = 0.05
MAX_TREES = 2_000  # rounds of boosting
PATIENCE = 100  # rounds without a better validation loss before it ends
QUIET = {"deterministic": True, "force_row_wise": True, "verbosity": -1}  # the same bits whatever the machine's load


@dataclass(frozen=True, slots=True)
class FittedTrees:
    """The trees of the grid that score best on the validation rows, and how they were found."""

    trees: Trees
    validation_score: float
    settings: dict[str, Any]


def choose_trees(
    inputs_NI: Array,
    targets_N: Array,
    val_inputs_VI: Array,
    val_targets_V: Array,
    score: Score,
    *,
    classes: int,
    categorical: Sequence[int],
    weights_N: Array | None = None,
    seed: int,
    threads: int,
) -> FittedTrees:
    """Fits every point of the grid with early stopping, and keeps the best; of equal ones the simplest.

    Args:
        inputs_NI: numbers, not a number where they are missing, and ids of categories.
        targets_N: class ids, or numbers.
        score: of the validation predictions.
        classes: 0 for numbers.
        categorical: the inputs that are ids.
        weights_N: how much each training row counts; None: all the same.

    Source: Ke et al. 2017, LightGBM; early stopping on the validation loss.
    """
    library = lightgbm()
    best: FittedTrees | None = None
    for leaves, rows_of_a_leaf in GRID:
        options = {
            **_objective(classes),
            "learning_rate": LEARNING_RATE,
            "num_leaves": leaves,
            "min_data_in_leaf": min(rows_of_a_leaf, max(1, len(targets_N) // 20)),
            "num_threads": threads,
            "seed": seed,
        }
        given = options | QUIET
        rows = library.Dataset(inputs_NI, targets_N, weight=weights_N, categorical_feature=[*categorical], params=given)
        judged = library.Dataset(val_inputs_VI, val_targets_V, reference=rows, params=given)
        stop = library.early_stopping(PATIENCE, verbose=False)
        booster = library.train(given, rows, MAX_TREES, valid_sets=[judged], callbacks=[stop])
        trees = Trees(plain_text(booster.model_to_string(num_iteration=booster.best_iteration)), threads=threads)
        found = score(trees.predict(val_inputs_VI))
        if best is None or found > best.validation_score:
            settings = options | {"rounds": booster.best_iteration, "lightgbm": library.__version__}
            best = FittedTrees(trees, found, settings)
    assert best is not None, "the grid is empty"
    return best


def _objective(classes: int) -> dict[str, Any]:
    if classes == 0:
        return {"objective": "regression"}
    return {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
