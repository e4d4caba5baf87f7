"""Old rows mixed into the steps: which ones a step sees again, and how much their loss counts.

Which they are is a function of seed and step, so that a run that goes on sees the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from burnish.engine.options import TrainingOptions

STREAM = 1 << 32  # apart from the epochs, whose order has keys of its own


@dataclass(frozen=True, slots=True)
class Replay:
    """What a step replays.

    Attributes:
        rows: numbers of the kept rows, which are counted on behind the training rows.
        units: of their loss, such as tokens.
        factor: what each of their losses is multiplied by.
    """

    rows: Sequence[int] = ()
    units: float = 0.0
    factor: float = 0.0


def replay_of_step(
    step: int,
    new: Sequence[int],
    *,
    rows: int,
    kept_rows: int,
    units_of: Callable[[Sequence[int]], float],
    options: TrainingOptions,
) -> Replay:
    """The kept rows of a step, about `replay` of all its rows.

    With w = replay, W and K the units of new and kept rows, and every sum divided by W / (1 - w) in the end, a
    factor of w / (1 - w) * W / K makes the loss (1 - w) * mean(new) + w * mean(kept).

    Args:
        new: the step's training rows.
        rows, kept_rows: how many there are of each.
        units_of: rows by their numbers -> units of their loss.
    """
    share = options.keep_ability.replay
    if not share:
        return Replay()
    odds = share / (1.0 - share)
    count = max(1, round(odds * options.global_batch_size))
    replayed = [rows + index for index in replayed_rows(step, count=count, rows=kept_rows, seed=options.seed)]
    units = units_of(replayed)
    return Replay(replayed, units, odds * units_of(new) / units)


def replayed_rows(step: int, *, count: int, rows: int, seed: int) -> list[int]:
    """Which of `rows` kept rows step number `step` sees again, `count` of them; a new order for each pass.

    >>> sorted(replayed_rows(0, count=2, rows=4, seed=13) + replayed_rows(1, count=2, rows=4, seed=13))
    [0, 1, 2, 3]
    """
    found: list[int] = []
    for place in range(step * count, (step + 1) * count):
        around, index = divmod(place, rows)
        found.append(int(_order(around, rows, seed)[index]))
    return found


@lru_cache(maxsize=2)
def _order(around: int, rows: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.Generator(np.random.Philox(key=[seed, STREAM + around])).permutation(rows)
