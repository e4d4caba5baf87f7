"""Each curve by its shape: the sentence begins with what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from burnish.evaluation.diagnosis import diagnose

Curve = Callable[[int], float]


def rows(train: Curve, validation: Curve, *, steps: int = 200, every: int = 20) -> list[dict[str, Any]]:
    """Training losses every 5 steps, evaluations every `every`."""
    logged = [{"step": step, "loss": train(step)} for step in range(5, steps + 1, 5)]
    evaluated = [
        {"step": s, "validation": {"loss": validation(s), "accuracy": 0.5}} for s in range(every, steps + 1, every)
    ]
    return sorted([*logged, *evaluated], key=lambda row: row["step"])


def falling(step: int) -> float:
    return 0.1 + 2 * math.exp(-step / 40)


def test_a_validation_loss_that_settles_has_converged() -> None:
    sentence = diagnose(rows(falling, lambda step: 0.3 + 2 * math.exp(-step / 25)))
    assert sentence.startswith("Converged")
    assert "step 200" in sentence


def test_a_validation_loss_that_still_falls_is_still_improving() -> None:
    assert diagnose(rows(falling, lambda step: 2.0 - step / 150)).startswith("Still improving")


def test_a_validation_loss_that_turns_is_overfitting_from_its_lowest_step() -> None:
    assert diagnose(rows(falling, lambda step: 0.5 + abs(step - 80) / 200)).startswith("Overfitting from step 80:")


def test_a_loss_that_rises_while_the_labels_get_better_is_told_apart() -> None:
    curve = rows(falling, lambda step: 0.5 + abs(step - 80) / 200)
    assert "too sure" not in diagnose([{**row, "best": row["step"] == 80} for row in curve])
    assert "the labels were best at step 160: it grew too sure" in diagnose(
        [{**row, "best": row["step"] in (80, 160)} for row in curve]
    )


def test_a_training_loss_that_hardly_falls_is_underfitting() -> None:
    assert diagnose(rows(lambda step: 2.0 - step / 10_000, lambda step: 2.1)).startswith("Underfitting")


def test_a_training_loss_that_rises_again_is_diverging() -> None:
    def blowing_up(step: int) -> float:
        return 1.0 - step / 200 if step < 100 else step / 100

    assert diagnose(rows(blowing_up, blowing_up)).startswith("Diverging")


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_loss_that_is_not_finite_is_diverging_with_its_step(bad: float | None) -> None:
    assert diagnose([{"step": 1, "loss": 2.0}, {"step": 1200, "loss": bad}]).startswith(
        "Diverging: the loss at step 1,200"
    )


@pytest.mark.parametrize(("every", "told"), [(200, "1 evaluation "), (100, "2 evaluations ")])
def test_under_three_evaluations_are_too_few(every: int, told: str) -> None:
    sentence = diagnose(rows(falling, falling, every=every))
    assert sentence.startswith("Too few evaluations")
    assert told in sentence


def test_no_rows_are_too_few() -> None:
    assert diagnose([]).startswith("Too few evaluations: 0")


def test_a_solved_head_has_no_curve() -> None:
    assert diagnose([{"step": 1, "epoch": 1.0, "validation": {"accuracy": 0.9}, "best": True}]).startswith(
        "There is no curve"
    )


def test_without_a_validation_loss_the_first_metric_tells() -> None:
    better = [{"step": s, "validation": {"accuracy": 0.5 + s / 100}} for s in (10, 20, 30, 40)]
    assert diagnose(better).startswith("Still improving")
