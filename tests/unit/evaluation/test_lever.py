"""Which lever the end of a learning curve speaks for."""

from __future__ import annotations

import dataclasses

import pytest

from burnish.evaluation.learning_curve import Point
from burnish.evaluation.lever import Lever, Symptoms, find_lever

FLAT = Point(2_000, 0.002, -0.001, 0.006)
SYMPTOMS = Symptoms(
    metric="accuracy",
    minimum_effect=0.01,
    doubling=FLAT,
    learned=0.97,
    reached=0.95,
    still_rising=False,
    method="full",
)


@pytest.mark.parametrize(
    ("changes", "lever", "said"),
    [
        ({"doubling": Point(2_000, 0.02, 0.01, 0.03)}, Lever.MORE_DATA, "+2 points [+1, +3]"),
        ({"still_rising": True}, Lever.LONGER, "stopped too early"),
        ({"learned": 0.80, "reached": 0.79, "method": "head"}, Lever.BIGGER, "`method: head` leaves the base"),
        ({"learned": 0.80, "reached": 0.79}, Lever.BIGGER, "80.0%, on others 79.0%"),
        ({"learned": 0.99, "reached": 0.85}, Lever.CLEANER, "look at the labels"),
        ({}, Lever.NONE, "The curve is flat"),
        ({"learned": None}, Lever.NONE, "The curve is flat"),
        ({"metric": "mae", "learned": 0.2, "reached": 0.8}, Lever.CLEANER, "reaches 0.2, on others 0.8"),
    ],
)
def test_the_first_lever_that_the_symptoms_speak_for(changes: dict[str, object], lever: Lever, said: str) -> None:
    found, why = find_lever(dataclasses.replace(SYMPTOMS, **changes))  # type: ignore[arg-type]

    assert found is lever
    assert said in why
