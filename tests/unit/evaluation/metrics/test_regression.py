"""Metrics of numbers by hand; tests/parity compares them with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.metrics.regression import MeanAbsoluteError, RootMeanSquaredError, RSquared
from burnish.evaluation.metrics.resampling import measured, value_of

TRUTH, GUESS = [1.0, 2.0, 3.0, 6.0], [1.0, 4.0, 3.0, 5.0]


def test_by_hand() -> None:
    assert value_of(MeanAbsoluteError(), TRUTH, GUESS) == 0.75
    assert value_of(RootMeanSquaredError(), TRUTH, GUESS) == pytest.approx((5 / 4) ** 0.5)
    assert value_of(RSquared(), TRUTH, GUESS) == pytest.approx(1 - 5 / 14)


def test_the_mean_explains_nothing() -> None:
    assert value_of(RSquared(), TRUTH, [3.0] * 4) == 0.0
    assert value_of(RSquared(), [2.0] * 4, GUESS) == 0.0


def test_rows_that_count_twice_are_rows_that_stand_twice() -> None:
    for metric in (MeanAbsoluteError(), RootMeanSquaredError(), RSquared()):
        counted = metric.weighted(TRUTH, GUESS, np.array([[1, 2, 1, 3]]))[0]
        repeated = value_of(metric, [1.0, 2.0, 2.0, 3.0, 6.0, 6.0, 6.0], [1.0, 4.0, 4.0, 3.0, 5.0, 5.0, 5.0])
        assert counted == pytest.approx(repeated)


def test_a_smaller_error_wins_a_row() -> None:
    assert RSquared().score(2.0, 4.0) == -2.0
    assert MeanAbsoluteError().score(2.0, 4.0) == 2.0


def test_the_interval_holds_the_value() -> None:
    found = measured(RSquared(), TRUTH * 20, GUESS * 20)
    assert found.n == 80
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
