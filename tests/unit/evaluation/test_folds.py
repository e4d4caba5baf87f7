"""Several folds as one evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.evaluation.compare import Difference
from burnish.evaluation.folds import pooled, pooled_arms, strongest


def evaluation(tuned: float, probe: float, n: int, *, metric: str = "accuracy") -> dict[str, Any]:
    def value(number: float) -> dict[str, dict[str, Any]]:
        return {metric: {"value": number, "low": number - 0.03, "high": number + 0.03, "n": n}}

    return {
        "metric": metric,
        "models": {"tuned": value(tuned), "base-probe": value(probe), "tf-idf": value(0.5)},
        "arms": {"base-probe": {}, "tf-idf": {}},
    }


def test_values_are_weighted_by_rows_and_errors_of_different_rows_are_independent() -> None:
    found = pooled_arms([evaluation(0.8, 0.7, 300), evaluation(0.6, 0.7, 100)])["tuned"]

    assert (found.rows, found.value) == (400, pytest.approx(0.75))
    assert found.high - found.value == pytest.approx(0.03 * (300**2 + 100**2) ** 0.5 / 400)


def test_one_fold_stays_as_it_is() -> None:
    one = Difference(0.1, 0.05, 0.2, 50)

    assert pooled([one]) == Difference(pytest.approx(0.1), pytest.approx(0.05), pytest.approx(0.2), 50)


def test_a_metric_without_an_interval_has_its_value_on_both_sides() -> None:
    bare = evaluation(0.8, 0.7, 300)
    bare["models"]["tuned"]["accuracy"] |= {"low": None, "high": None}
    found = pooled_arms([bare])["tuned"]

    assert (found.low, found.high) == (pytest.approx(0.8), pytest.approx(0.8))


@pytest.mark.parametrize(("metric", "best"), [("accuracy", "base-probe"), ("mae", "tf-idf")])
def test_the_strongest_arm_is_the_best_over_all_folds(metric: str, best: str) -> None:
    assert strongest([evaluation(0.8, 0.7, 300, metric=metric), evaluation(0.8, 0.6, 100, metric=metric)]) == best
