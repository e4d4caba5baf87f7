"""Which columns a model relies on."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.evaluation.importance import MOST_ROWS, REPEATS, permutation_importance
from burnish.evaluation.metrics.classification import Accuracy
from burnish.evaluation.metrics.regression import MeanAbsoluteError
from burnish.types import Row

ROWS: list[Row] = [{"features": {"read": i % 2, "ignored": i}} for i in range(200)]


def read(rows: Sequence[Row]) -> list[str]:
    return [str(row["features"]["read"]) for row in rows]


def test_a_column_that_is_read_costs_and_another_does_not() -> None:
    found = permutation_importance(["ignored", "read"], ROWS, read(ROWS), read, Accuracy(), seed=1)
    assert (found["n"], found["repeats"], found["metric"]) == (200, REPEATS, "accuracy")
    first, second = found["columns"]
    assert (first["column"], second["column"]) == ("read", "ignored")
    assert 0.3 < first["low"] <= first["loss"] <= first["high"] < 0.7  # shuffled bits agree half of the time
    assert second == {"column": "ignored", "loss": 0.0, "low": 0.0, "high": 0.0}
    assert ROWS[1] == {"features": {"read": 1, "ignored": 1}}


def test_of_an_error_the_loss_is_its_rise() -> None:
    def number(rows: Sequence[Row]) -> list[float]:
        return [float(row["features"]["ignored"]) for row in rows]

    found = permutation_importance(["ignored"], ROWS, number(ROWS), number, MeanAbsoluteError(), seed=1)
    assert found["columns"][0]["loss"] > 0


def test_many_rows_are_thinned_out() -> None:
    many = ROWS * 20
    assert permutation_importance(["read"], many, read(many), read, Accuracy(), seed=1)["n"] == MOST_ROWS
