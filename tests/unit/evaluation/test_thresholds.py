"""Thresholds: what is answered, how well, and the lowest one that is good enough."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.thresholds import answered, judge_confidence, sureness, threshold_for

SURE = np.linspace(1.0, 0.505, 100)  # the first the surest
RIGHT = np.arange(100) < 80  # the 20 least sure ones are wrong


def test_what_is_answered_is_counted_with_an_interval() -> None:
    found = answered(0.75, SURE, RIGHT)
    assert (found["n"], found["coverage"], found["accuracy"]) == (51, 0.51, 1.0)
    assert found["low"] < 1.0 == found["high"]
    assert answered(2.0, SURE, RIGHT)["accuracy"] is None


def test_the_lowest_threshold_that_is_good_enough_is_chosen() -> None:
    threshold = threshold_for(0.9, SURE, RIGHT)
    assert threshold is not None
    assert answered(threshold, SURE, RIGHT)["n"] == 88  # 80 of 88 are right, 80 of 89 under 90 %
    assert threshold_for(0.5, SURE, RIGHT) == pytest.approx(0.505)
    assert threshold_for(0.9, SURE, ~RIGHT) is None


def test_rows_that_are_equally_sure_are_answered_together() -> None:
    right = np.array([True] * 30 + [False] * 30)
    assert threshold_for(0.9, np.full(60, 0.7), right) is None


def test_a_handful_of_rows_chooses_nothing() -> None:
    assert threshold_for(0.9, SURE[:19], RIGHT[:19]) is None


def test_the_target_is_chosen_on_validation_and_told_on_the_test() -> None:
    found = judge_confidence((SURE, RIGHT), (SURE[:40], RIGHT[:40]), 0.9)
    assert [row["n"] for row in found["rows"]][:2] == [100, 100]
    target = found["target"]
    assert (target["validation"]["n"], target["validation_rows"]) == (40, 40)
    assert target["test"]["n"] == 40
    assert "target" not in judge_confidence((SURE, RIGHT), (SURE, RIGHT), None)
    assert judge_confidence((SURE, ~RIGHT), (SURE, ~RIGHT), 0.9)["target"]["threshold"] is None


def test_sureness_is_that_of_the_likeliest_label() -> None:
    sure, right = sureness(("a", "b"), ["a", "a"], np.array([[0.7, 0.3], [0.4, 0.6]]))
    assert (sure.tolist(), right.tolist()) == ([0.7, 0.6], [True, False])
