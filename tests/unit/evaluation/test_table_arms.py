"""The arms of a table, on rows whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from burnish.data.options import TableOptions
from burnish.data.table_columns import fit_table
from burnish.evaluation.metrics.probabilities import RocAuc
from burnish.evaluation.metrics.regression import RSquared
from burnish.evaluation.metrics.resampling import value_of
from burnish.evaluation.table_arms import TableArms, TableRows
from burnish.types import Metric, Split

LABELS = ("no", "yes")


def arms(numbers: bool, **changes: Any) -> TableArms:
    """300 rows: what is predicted rises with x, and plan c adds to it."""
    random = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        x, plan = float(random.normal()), str(random.choice(["a", "b", "c"]))
        score = x + 2 * (plan == "c") + float(random.normal(0, 0.5))
        target: Any = score if numbers else LABELS[int(score > 1)]
        rows.append({"features": {"x": None if random.random() < 0.05 else x, "plan": plan}, "target": target})
    parts = {Split.TRAIN: rows[:200], Split.VALIDATION: rows[200:250], Split.TEST: rows[250:]}
    table = fit_table([row["features"] for row in parts[Split.TRAIN]], TableOptions())
    metric: Metric = RSquared() if numbers else RocAuc(LABELS, "yes")
    settled: dict[str, Any] = {
        "table": table,
        "parts": {split: TableRows.of(table, some) for split, some in parts.items()},
        "labels": () if numbers else LABELS,
        "metric": metric,
        "class_weights": {},
        "seed": 1,
        "threads": 1,
    }
    return TableArms(**(settled | changes))


def test_the_mean_answers_every_row_alike() -> None:
    found = arms(numbers=False).mean()
    assert len(found.validation_predictions) == len(found.test_predictions) == 50
    assert len(set(found.test_predictions)) == 1
    assert sum(found.test_predictions[0]) == pytest.approx(1.0)
    ours = arms(numbers=True)
    assert ours.mean().test_predictions[0] == pytest.approx(np.mean(ours.parts[Split.TRAIN].targets))


@pytest.mark.parametrize("numbers", [False, True])
def test_a_linear_model_learns_what_is_linear(numbers: bool) -> None:
    ours = arms(numbers=numbers)
    found = ours.linear()
    assert value_of(ours.metric, ours.parts[Split.TEST].targets, found.test_predictions) > (0.6 if numbers else 0.9)
    assert found.settings["columns"] == 2 + 5  # x and whether it is missing; unknown, missing and three plans
    if not numbers:
        assert [sum(answer) for answer in found.test_predictions] == pytest.approx([1.0] * 50)


def test_weights_raise_the_probability_of_the_class_that_counts_more() -> None:
    def share(**changes: Any) -> float:
        return float(np.mean([answer[1] for answer in arms(numbers=False, **changes).linear().test_predictions]))

    assert share(class_weights={"no": 0.5, "yes": 2.0}) > share()


def test_trees_are_fitted_to_the_same_rows() -> None:
    ours = arms(numbers=False)
    fitted = ours.fit_trees()
    assert fitted.validation_score > 0.8
    assert fitted.trees.predict(ours.parts[Split.TEST].inputs).shape == (50, 2)
