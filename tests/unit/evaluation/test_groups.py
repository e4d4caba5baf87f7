"""Groups: which rows are one, how far apart they are, and the gate that stops a model that fails one of them."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.groups import (
    MISSING,
    Decisions,
    group_names,
    groups_gate,
    judge_groups,
    simultaneous,
    widest,
)
from burnish.evaluation.metrics.classification import Accuracy, MacroF1
from burnish.evaluation.metrics.regression import MeanAbsoluteError


def judged(truth: list[str], said: list[str], **columns: list[str]) -> dict[str, object]:
    return judge_groups(
        columns,
        [MacroF1(["no", "yes"]), Accuracy()],
        truth,
        said,
        decisions=Decisions("yes", truth, said),
        resamples=400,
        seed=0,
    )


TRUTH = ["yes", "no"] * 100
SAID = ["yes", "no"] * 60 + ["yes", "yes"] * 40  # the last 80 rows: every "no" is missed
GROUP = ["a"] * 120 + ["b"] * 80


def test_numbers_of_many_values_are_cut_at_the_quarters_of_the_training_rows() -> None:
    names = group_names([str(x) for x in range(1, 101)], ["3", "25.75", "60", "99", "", None, "old"])
    low, second, third, fourth = "under 25.75", "25.75 to under 50.5", "50.5 to under 75.25", "75.25 or more"
    assert names == [low, second, third, fourth, MISSING, MISSING, MISSING]


@pytest.mark.parametrize("known", [[1, 2, 3] * 20, [*range(40), "x"]])
def test_few_numbers_and_names_are_groups_themselves(known: list[object]) -> None:
    assert group_names(known, [1, "x", True]) == ["1", "x", "True"]


def test_the_gap_is_between_the_best_and_the_worst_group() -> None:
    found = judged(TRUTH, SAID, side=GROUP)
    assert (found["metric"], found["fewest"]) == ("macro-f1", 30)
    (column,) = found["columns"]
    assert [(g["group"], g["n"], g["value"]) for g in column["groups"]] == [("a", 120, 1.0), ("b", 80, 1 / 3)]
    gap = column["gap"]
    assert (gap["best"], gap["worst"]) == ("a", "b")
    assert gap["value"] == pytest.approx(2 / 3)
    assert 0.5 < gap["low"] < 2 / 3 < gap["high"] < 0.8
    others = column["groups"][1]["against_others"]
    assert others["value"] == pytest.approx(-2 / 3)
    assert others["low"] < others["value"] < others["high"] < 0


def test_rates_of_the_positive_class() -> None:
    """Hardt et al. 2016: who is given the positive class, of those who deserve it and of those who do not."""
    (column,) = judged(TRUTH, SAID, side=GROUP)["columns"]
    a, b = (group["rates"] for group in column["groups"])
    assert (a["selection"]["value"], b["selection"]["value"]) == (0.5, 1.0)
    assert (a["true-positive"]["value"], b["true-positive"]["value"]) == (1.0, 1.0)
    assert (a["false-positive"]["value"], b["false-positive"]["value"]) == (0.0, 1.0)
    assert (a["false-positive"]["n"], b["false-positive"]["n"]) == (60, 40)
    gap = column["rate_gaps"]["selection"]
    assert (gap["highest"], gap["lowest"], gap["value"]) == ("b", "a", 0.5)
    assert 0.3 < gap["low"] < 0.5 < gap["high"]


def test_small_groups_are_counted_and_not_compared() -> None:
    (column,) = judged(TRUTH, SAID, side=["a"] * 171 + ["b"] * 29)["columns"]
    assert column["too_small"] == [{"group": "b", "n": 29}]
    assert [group["group"] for group in column["groups"]] == ["a"]
    assert column["gap"] is None
    assert "against_others" not in column["groups"][0]


def test_where_a_group_lacks_a_class_accuracy_is_compared() -> None:
    truth, said = ["yes"] * 50 + ["no"] * 50, ["yes"] * 100
    found = judged(truth, said, side=["a"] * 50 + ["b"] * 50)
    assert found["metric"] == "accuracy"
    assert [group["value"] for group in found["columns"][0]["groups"]] == [1.0, 0.0]


def test_of_an_error_the_lowest_is_the_best() -> None:
    truth, said = [1.0] * 60, [1.0] * 30 + [3.0] * 30
    found = judge_groups({"x": ["a"] * 30 + ["b"] * 30}, [MeanAbsoluteError()], truth, said, resamples=100, seed=0)
    gap = found["columns"][0]["gap"]
    assert (gap["best"], gap["worst"], gap["value"]) == ("a", "b", 2.0)


def test_the_gap_of_equal_groups_is_rarely_called_certain() -> None:
    """Ten groups of equal quality: the two furthest apart differ by chance, which the interval has to know."""
    random = np.random.default_rng(1)
    sure = 0
    for _ in range(100):
        shares = random.binomial(100, 0.8, size=10) / 100
        again = random.binomial(100, shares, size=(400, 10)) / 100
        found = widest(shares, again)
        assert found is not None
        sure += found[2].low > 0
    assert sure <= 12  # 5 expected; 13 or more of 100 have a probability under 0.002


def test_what_does_not_move_has_no_width() -> None:
    (still,) = simultaneous(np.array([0.5]), np.full((10, 1), 0.5))
    assert (still.low, still.value, still.high) == (0.5, 0.5, 0.5)


def test_the_gate_stops_what_is_certain_and_warns_of_the_rest() -> None:
    found = judged(TRUTH, SAID, side=GROUP)
    stopped = groups_gate(found, 0.1)
    assert (stopped.name, stopped.passed) == ("groups", False)
    assert '"side" b is 66.7' in stopped.reason
    assert "10.0\N{NO-BREAK SPACE}points are allowed" in stopped.reason
    assert "burnish audit" in stopped.advice
    unsure = groups_gate(found, 0.65)
    assert unsure.passed
    assert "not for certain" in unsure.reason
    assert groups_gate(found, 0.9).passed
    assert "within 90.0" in groups_gate(found, 0.9).reason
    assert "No column has two groups" in groups_gate(judged(TRUTH, SAID, side=["a"] * 200), 0.1).reason
