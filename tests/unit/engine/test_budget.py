"""Time and money of a training, with a clock of our own."""

from __future__ import annotations

import pytest

from burnish.engine import budget as budget_module
from burnish.engine.budget import PACE_AFTER, Budget, cost_of, seconds_allowed
from burnish.engine.options import TrainingOptions


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(budget_module.time, "monotonic", lambda: now[0])
    return now


def test_without_limits_nothing_is_spent(clock: list[float]) -> None:
    found = Budget(TrainingOptions())
    clock[0] += 1e9
    assert (found.limit, found.is_spent) == (None, False)


def test_the_smaller_limit_counts() -> None:
    assert seconds_allowed(TrainingOptions(max_seconds=90)) == 90
    dear = TrainingOptions(max_seconds=7_200, max_cost=2, price_per_hour=4)
    assert seconds_allowed(dear) == 1_800
    assert seconds_allowed(TrainingOptions(max_cost=2)) is None, "no price, no limit: the recipe is refused elsewhere"


def test_the_parts_of_a_training_add_up(clock: list[float]) -> None:
    found = Budget(TrainingOptions(max_seconds=100))
    found.earlier = 70.0
    clock[0] += 29
    assert (found.spent, found.is_spent) == (99.0, False)
    clock[0] += 1
    assert found.is_spent
    assert found.reason() == "budget: 100 seconds are spent"


def test_the_reason_says_what_was_paid(clock: list[float]) -> None:
    found = Budget(TrainingOptions(max_cost=1, price_per_hour=2))
    clock[0] += 1_800
    assert found.reason() == "budget: 1,800 seconds are spent, 1.00 at 2 an hour"


def test_the_pace_is_told_once_and_when_it_is_worth_it(clock: list[float]) -> None:
    found = Budget(TrainingOptions(price_per_hour=6))
    clock[0] += 20  # two seconds a step
    said = "at the pace of the first 10 steps training takes 20 more minutes and 2.00"
    assert found.pace(PACE_AFTER, 600) == said
    assert found.pace(PACE_AFTER + 1, 600) is None
    assert found.pace(PACE_AFTER, 20) is None


def test_nothing_costs_anything_without_a_price() -> None:
    assert cost_of(3_600, TrainingOptions()) is None
    assert cost_of(1_800, TrainingOptions(price_per_hour=3)) == 1.5
