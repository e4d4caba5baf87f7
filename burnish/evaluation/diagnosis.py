"""What the learning curves say about a training, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Thresholds are shares of the loss they are compared with; below them a curve moves no more than its own noise.
STILL_FALLING = 0.02  # fall of the validation loss over the last two intervals
RISING = 0.05  # rise of the validation loss above its lowest value
BLOWN_UP = 1.2  # training loss at the end, as a multiple of its lowest level
HARDLY_LEARNED = 0.05  # fall of the training loss from its first level to its last
FEWEST = 3  # evaluations that make a curve

Point = tuple[int, float]  # step, value


def diagnose(metrics_rows: Sequence[Mapping[str, Any]]) -> str:
    """One sentence on the rows of metrics.jsonl.

    Still improving, converged, overfitting from step N, underfitting, diverging, or too few evaluations to say.
    Validation is read from its loss; where there is none, from one minus its first metric.
    """
    training = [(int(row["step"]), _number(row["loss"])) for row in metrics_rows if "loss" in row and "step" in row]
    validation = [point for row in metrics_rows if (point := _validation_point(row)) is not None]
    broken = next((step for step, value in sorted([*training, *validation]) if not math.isfinite(value)), None)
    if broken is not None:
        return f"Diverging: the loss at step {broken:,} is not a finite number; a lower learning rate is needed."
    if not training and len(validation) == 1:
        return "There is no curve: the head was solved exactly, without training steps."
    if len(validation) < FEWEST:
        count = f"{len(validation)} evaluation{'' if len(validation) == 1 else 's'}"
        return f"Too few evaluations: {count} cannot show how the training went; {FEWEST} or more can."
    kept = max((int(row["step"]) for row in metrics_rows if row.get("best") and "step" in row), default=0)
    return _from_training(training, validation) or _from_validation(training, validation, kept)


def _number(value: Any) -> float:
    """A loss as it was logged; null stands for one that was not finite."""
    return math.nan if value is None else float(value)


def _validation_point(row: Mapping[str, Any]) -> Point | None:
    values = row.get("validation")
    if not isinstance(values, Mapping) or not values or "step" not in row:
        return None
    if "loss" in values:
        return int(row["step"]), _number(values["loss"])
    return int(row["step"]), 1.0 - _number(next(iter(values.values())))


def _from_training(training: Sequence[Point], validation: Sequence[Point]) -> str | None:
    """Diverging and underfitting show in the training loss; None when it fell as it should."""
    levels = _levels(training)
    if len(levels) < 2:
        return None
    first, last, lowest = levels[0], levels[-1], min(levels)
    fell = f"the training loss went from {first:.3g} to {last:.3g}"
    if last > BLOWN_UP * lowest and validation[-1][1] > _lowest(validation)[1]:
        return f"Diverging: {fell}, up from its lowest level of {lowest:.3g}; try a lower learning rate."
    if last > (1 - HARDLY_LEARNED) * first:
        return f"Underfitting: {fell}; the model hardly learned, so try a higher learning rate or more epochs."
    return None


def _from_validation(training: Sequence[Point], validation: Sequence[Point], kept: int) -> str:
    """What the validation loss shows; `kept` is the step whose metric was best."""
    step, lowest = _lowest(validation)
    last_step, last = validation[-1]
    if last > (1 + RISING) * lowest and _falls_after(training, step):
        labels = f"; yet the labels were best at step {kept:,}: it grew too sure, not worse" if kept > step else ""
        return (
            f"Overfitting from step {step:,}: from there the validation loss rose from {lowest:.3g} to {last:.3g} "
            f"while the training loss fell{labels}."
        )
    before = validation[-FEWEST][1]
    if step == last_step and before - last > STILL_FALLING * before:
        return (
            f"Still improving: the validation loss was falling at the last step, {last_step:,}; "
            "more epochs may give a better model."
        )
    return f"Converged: the validation loss settled near {lowest:.3g}, its lowest at step {step:,}."


def _lowest(points: Sequence[Point]) -> Point:
    return min(points, key=lambda point: (point[1], point[0]))


def _levels(training: Sequence[Point]) -> list[float]:
    """Means over tenths of the logged training losses: single steps are too noisy to compare."""
    width = max(1, len(training) // 10)
    blocks = [training[start : start + width] for start in range(0, len(training) - width + 1, width)]
    return [sum(value for _, value in block) / len(block) for block in blocks]


def _falls_after(training: Sequence[Point], step: int) -> bool:
    """Whether the training loss ends below its level up to a step; true where there is nothing to compare."""
    before = _levels([point for point in training if point[0] <= step])
    after = _levels([point for point in training if point[0] > step])
    return not before or not after or after[-1] < before[-1]
