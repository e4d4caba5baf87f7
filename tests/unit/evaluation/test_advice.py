"""The rule of `burnish plan` on tables of cases."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from burnish.evaluation.advice import FEW_OF_A_CLASS, FEW_ROWS, Course, Facts, advise
from burnish.evaluation.compare import Difference
from burnish.evaluation.learning_curve import Point


def arm(value: float) -> Point:
    return Point(500, value, value - 0.02, value + 0.02)


FACTS = Facts(
    metric="accuracy",
    minimum_effect=0.01,
    arms={"majority": arm(0.5), "tf-idf": arm(0.84), "base-probe": arm(0.86)},
    tuned=arm(0.90),
    gain=Difference(0.04, 0.02, 0.06, 500),
    strongest="base-probe",
    share_of_steps=1.0,
    train_rows=1_000,
    class_rows={"a": 500, "b": 500},
)


def of(gain: tuple[float, float, float], **changes: Any) -> Facts:
    return dataclasses.replace(FACTS, gain=Difference(*gain, 500), **changes)


@pytest.mark.parametrize(
    ("facts", "answer", "use", "sure"),
    [
        (of((0.04, 0.02, 0.06)), Course.FINE_TUNE, None, "sure"),
        (of((0.02, -0.01, 0.05)), Course.FINE_TUNE, None, "likely"),
        (of((-0.02, -0.04, -0.005)), Course.CLASSIC, "base-probe", "sure"),
        (of((-0.01, -0.04, 0.02)), Course.CLASSIC, "base-probe", "likely"),
        (of((0.005, -0.02, 0.03)), Course.CLASSIC, "base-probe", "open"),
        (of((0.006, 0.001, 0.03), share_of_steps=0.0), Course.FINE_TUNE, None, "sure"),
        (of((-0.006, -0.02, 0.0), share_of_steps=0.25), Course.CLASSIC, "base-probe", "sure"),
        (of((-0.006, -0.02, 0.0), share_of_steps=0.1), Course.CLASSIC, "base-probe", "likely"),
    ],
)
def test_the_gain_and_its_interval_decide(facts: Facts, answer: Course, use: str | None, sure: str) -> None:
    found = advise(facts)

    assert (found.answer, found.use, found.sure) == (answer, use, sure)


def test_a_gain_of_few_steps_counts_for_more_and_a_loss_does_not() -> None:
    assert advise(of((0.02, 0.01, 0.03), share_of_steps=1.0)).expected_gain == pytest.approx(0.02)
    assert advise(of((0.02, 0.01, 0.03), share_of_steps=0.0)).expected_gain == pytest.approx(0.04)
    assert advise(of((-0.02, -0.03, -0.01), share_of_steps=0.0)).expected_gain == pytest.approx(-0.02)


def test_of_arms_that_are_as_good_the_cheapest_is_used() -> None:
    facts = of((-0.01, -0.02, 0.0), arms={"tf-idf": arm(0.855), "base-probe": arm(0.86)})
    found = advise(facts)

    assert found.use == "tf-idf"
    assert "cheaper and nearly as good" in " ".join(found.reasons)


def test_where_an_error_is_measured_the_lowest_is_best() -> None:
    arms = {
        "mean": Point(90, 3.0, 2.8, 3.2),
        "tf-idf": Point(90, 2.0, 1.9, 2.1),
        "base-probe": Point(90, 1.0, 0.9, 1.1),
    }
    found = advise(of((-0.1, -0.2, 0.0), metric="mae", arms=arms, class_rows={}))

    assert found.use == "base-probe"
    assert "1 [0.9, 1.1]" in found.reasons[0]


@pytest.mark.parametrize("strongest", ["base", "base-few-shot"])
def test_a_base_that_answers_well_by_itself_is_prompted(strongest: str) -> None:
    arms = {"majority": arm(0.1), "base": arm(0.6), "base-few-shot": arm(0.62)}
    arms[strongest] = arm(0.7)
    found = advise(of((-0.01, -0.03, 0.01), metric="exact-match", arms=arms, strongest=strongest, class_rows={}))

    assert (found.answer, found.use) == (Course.PROMPT, strongest)


def test_a_base_whose_vectors_are_good_as_they_come_is_a_baseline() -> None:
    arms = {"tf-idf-cosine": arm(0.75), "base": arm(0.92)}
    found = advise(of((0.0, -0.004, 0.004), metric="spearman", arms=arms, strongest="base", class_rows={}))

    assert (found.answer, found.use) == (Course.CLASSIC, "base")


def test_an_endpoint_must_be_better_for_sure() -> None:
    better = of((0.04, 0.02, 0.06), asked=Difference(0.1, 0.02, 0.2, 50))
    unsure = of((0.04, 0.02, 0.06), asked=Difference(0.1, -0.02, 0.2, 50))

    assert (advise(better).answer, advise(better).use) == (Course.PROMPT, "endpoint")
    assert advise(unsure).answer is Course.FINE_TUNE
    assert "+10.0 points [-2.0, +20.0] against the better of the two, n = 50" in " ".join(advise(unsure).reasons)


def test_rare_classes_and_few_rows_ask_for_more_data() -> None:
    rare = advise(of((0.04, 0.02, 0.06), class_rows={"a": 500, "b": FEW_OF_A_CLASS - 3}))
    few = advise(of((0.04, 0.02, 0.06), class_rows={}, train_rows=FEW_ROWS - 5))

    assert (rare.answer, rare.rows_wanted) == (Course.MORE_DATA, {"b": 3})
    assert '3 of "b"' in rare.reasons[0]
    assert (few.answer, few.rows_wanted) == (Course.MORE_DATA, {"": 5})
    assert "at least 5 more" in few.reasons[0]


def test_rows_that_hold_no_answer_are_no_case_for_tuning() -> None:
    found = advise(of((0.0, -0.02, 0.02), strongest="majority"))

    assert found.answer is Course.MORE_DATA
    assert "Nothing that looks at the rows" in found.reasons[0]


def test_every_reason_has_its_number() -> None:
    doubling, disagreeing = Point(2_000, 0.013, 0.002, 0.03), 0.124
    found = advise(of((0.02, 0.01, 0.03), share_of_steps=0.25, doubling=doubling, disagreeing=disagreeing))
    text = " ".join(found.reasons)

    for part in ("86.0 % [84.0 %, 88.0 %]", "n = 500", "A rehearsal of 25%", "+2.0 points [+1.0, +3.0]"):
        assert part in text
    for part in ("a gain of 3.2 points can be expected", "+1.3 points [+0.2, +3.0]", "12.4%"):
        assert part in text
    assert found.as_dict()["answer"] == "fine-tune"
