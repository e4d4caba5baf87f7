"""What the learning curves say about a training, and what burnish did about it, in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

# Thresholds are shares of the loss they are compared with; below them a curve moves no more than its own noise.
STILL_FALLING = 0.02  # fall of the validation loss over the last two intervals
RISING = 0.05  # rise of the validation loss above its lowest value
BLOWN_UP = 1.2  # training loss at the end, as a multiple of its lowest level
HARDLY_LEARNED = 0.05  # fall of the training loss from its first level to its last
SLOW = 0.2  # fall of the training loss from its first level to its last, below which steps were small for the task
STEADY = 0.8  # share of the changes from level to level that are falls when steps are small, and not random
NOISY = 0.5  # share of the validation loss's changes that are turned round by the next one
NO_WAY = 0.25  # from its first value to its last, as a share of the way it went up and down
FEWEST = 3  # evaluations that make a curve
ENOUGH = 6  # evaluations that can show noise

Point = tuple[int, float]  # step, value


def diagnose(metrics_rows: Sequence[Mapping[str, Any]], trained: Mapping[str, Any] | None = None) -> str:
    """What the rows of metrics.jsonl show, and what was done about it.

    Still improving, converged, noisy validation, overfitting from step N, learning rate too small, underfitting,
    diverging, or too few evaluations to say. Validation is read from its loss; where there is none, from one minus
    its first metric.

    Args:
        trained: the manifest's "training": how the training ended; None or empty: nothing is said of it.
    """
    return " ".join([_shown(metrics_rows), *_done(trained or {})])


def _done(trained: Mapping[str, Any]) -> list[str]:
    """What burnish did: went back, skipped steps, stopped early, kept an earlier step."""
    said = []
    if trained.get("rolled_back"):
        said.append("It went back to the last good checkpoint once and went on with half the learning rate.")
    skipped = int(trained.get("skipped_steps") or 0)
    if skipped:
        said.append(
            f"{skipped:,} step{'' if skipped == 1 else 's'} whose loss or gradient was not finite did not count."
        )
    steps, best = int(trained.get("steps") or 0), int(trained.get("best_step") or 0)
    stopped = str(trained.get("stopped") or "finished")
    if steps and stopped != "finished":
        said.append(f"It stopped early, at step {steps:,}: {stopped}.")
    if 0 < best < steps:
        said.append(f"The weights of step {best:,} were kept, the best on the validation rows.")
    return said


def _shown(metrics_rows: Sequence[Mapping[str, Any]]) -> str:
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
    rates = [float(row["learning_rate"]) for row in metrics_rows if "loss" in row and row.get("learning_rate")]
    return _from_training(training, validation, rates) or _from_validation(training, validation, kept)


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


def _from_training(training: Sequence[Point], validation: Sequence[Point], rates: Sequence[float]) -> str | None:
    """Diverging, small steps and underfitting show in the training loss; None when it fell as it should."""
    levels = _levels(training)
    if len(levels) < 2:
        return None
    first, last, lowest = levels[0], levels[-1], min(levels)
    fell = f"the training loss went from {first:.3g} to {last:.3g}"
    if last > BLOWN_UP * lowest and validation[-1][1] > _lowest(validation)[1]:
        return f"Diverging: {fell}, up from its lowest level of {lowest:.3g}; try a lower learning rate."
    if last > (1 - SLOW) * first and _falls_steadily(levels) and _lowest(validation)[0] == validation[-1][0]:
        peak = f" of {max(rates):.2g}" if rates else ""
        return (
            f"Learning rate too small: {fell}, a little with every step and to the last one; a learning rate{peak} "
            "times 3 to 10 would get there sooner."
        )
    if last > (1 - HARDLY_LEARNED) * first:
        return f"Underfitting: {fell}; the model hardly learned, so try a higher learning rate or more epochs."
    return None


def _from_validation(training: Sequence[Point], validation: Sequence[Point], kept: int) -> str:
    """What the validation loss shows; `kept` is the step whose metric was best."""
    step, lowest = _lowest(validation)
    last_step, last = validation[-1]
    if _goes_nowhere(validation):
        values = [value for _, value in validation]
        return (
            f"Noisy validation: its loss went up and down between {min(values):.3g} and {max(values):.3g} without a "
            "direction, so which step is best is chance; more validation rows would tell."
        )
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


def _falls_steadily(levels: Sequence[float]) -> bool:
    """Whether the training loss goes down nearly everywhere: steps that are small, and not random."""
    falls = [earlier > later for earlier, later in itertools.pairwise(levels)]
    return sum(falls) >= STEADY * len(falls)


def _goes_nowhere(validation: Sequence[Point]) -> bool:
    """Whether each change of the validation loss is mostly taken back by the next one."""
    values = [value for _, value in validation]
    if len(values) < ENOUGH:
        return False
    changes = [later - earlier for earlier, later in itertools.pairwise(values)]
    turns = sum(one * other < 0 for one, other in itertools.pairwise(changes))
    path, way = sum(map(abs, changes)), abs(values[-1] - values[0])
    large = path > RISING * min(values) * len(changes)
    return large and turns >= NOISY * (len(changes) - 1) and way < NO_WAY * path


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
