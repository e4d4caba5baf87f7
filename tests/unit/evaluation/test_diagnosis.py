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


def test_a_training_loss_that_falls_a_little_with_every_step_asks_for_larger_ones() -> None:
    curve = rows(lambda step: 2.0 - step / 1_000, lambda step: 2.1 - step / 1_000)
    sentence = diagnose([{**row, **({"learning_rate": 2e-6} if "loss" in row else {})} for row in curve])
    assert sentence.startswith("Learning rate too small: the training loss went from 1.99 to 1.81")
    assert "a learning rate of 2e-06 times 3 to 10" in sentence


def test_a_validation_loss_that_goes_up_and_down_is_noisy() -> None:
    sentence = diagnose(rows(falling, lambda step: 0.5 + 0.1 * (step // 20 % 2)))
    assert sentence.startswith("Noisy validation: its loss went up and down between 0.5 and 0.6")
    assert "more validation rows" in sentence


def test_small_changes_of_the_validation_loss_are_no_noise() -> None:
    assert diagnose(rows(falling, lambda step: 0.5 + 0.01 * (step // 20 % 2))).startswith("Converged")


def test_a_validation_loss_that_falls_with_jumps_is_not_noisy() -> None:
    assert diagnose(rows(falling, lambda step: 2.0 - step / 150 + 0.05 * (step // 20 % 2))).startswith(
        "Still improving"
    )


def test_what_was_done_is_said() -> None:
    curve = rows(falling, lambda step: 0.5 + abs(step - 80) / 200)
    reason = "validation loss rose 3 times in a row while training loss fell"
    said = diagnose(curve, {"steps": 140, "best_step": 80, "stopped": reason, "skipped_steps": 0, "rolled_back": False})
    assert said.startswith("Overfitting from step 80:")
    assert said.endswith(
        f"It stopped early, at step 140: {reason}. The weights of step 80 were kept, the best on the validation rows."
    )


def test_going_back_and_skipped_steps_are_said() -> None:
    said = diagnose(
        [], {"steps": 100, "best_step": 100, "stopped": "finished", "skipped_steps": 1, "rolled_back": True}
    )
    assert "went back to the last good checkpoint once and went on with half the learning rate" in said
    assert "1 step whose loss or gradient was not finite did not count" in said
    assert "kept" not in said


def test_nothing_is_said_of_a_training_that_ended_as_planned() -> None:
    curve = rows(falling, falling)
    assert diagnose(curve, {"steps": 200, "best_step": 200, "stopped": "finished"}) == diagnose(curve)


def test_a_solved_head_took_no_steps() -> None:
    solved = [{"step": 1, "epoch": 1.0, "validation": {"accuracy": 0.9}, "best": True}]
    assert diagnose(solved, {"steps": 0, "best_step": 1, "stopped": "solved to convergence"}) == diagnose(solved)
