"""Whether an export answers as the trained model does: the largest difference of their numbers, the tokens they write.

Shapes: K rows of numbers of one row of the data, C numbers each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from burnish.serving.exports.reading import Array

# Of the largest logit, or of 1 where all are smaller: float32 sums in another order, over all layers.
ROUNDING = 1e-3
# Nats between two log-probabilities of one token: float32 in llama.cpp, which sums in another order.
ROUNDING_F32 = 5e-3
# The same with weights, and what they are multiplied with, rounded to float16, which keep 11 bits.
ROUNDING_F16 = 0.05
SHOWN = 10  # rows that differ, in an error


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was compared, and how far apart it is.

    Attributes:
        rows: that were compared.
        unit: of the differences.
        largest: difference of any two numbers.
        tolerance: up to which they count as the same, in the same unit.
        answers: of one row each, the ones that are the same.
        differing: rows beyond the tolerance, or with other tokens; the first one is row 0.
        ties: rows whose answer differs while their numbers do not: their two best were that close.
    """

    rows: int
    unit: str
    largest: float
    tolerance: float
    answers: int
    differing: tuple[int, ...] = ()
    ties: tuple[int, ...] = field(default=())

    @property
    def equal(self) -> bool:
        return not self.differing

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "unit": self.unit,
            "largest_difference": self.largest,
            "tolerance": self.tolerance,
            "equal_answers": self.answers,
            "ties": list(self.ties),
            "differing": list(self.differing),
        }


def agreement(
    trained: Sequence[Array],
    exported: Sequence[Array],
    *,
    unit: str,
    said: tuple[Sequence[Any], Sequence[Any]] | None = None,
    other_tokens: Sequence[int] = (),
) -> Agreement:
    """The numbers of both for the same rows, compared.

    Args:
        trained, exported: (K, C) for each row.
        said: what both answer to each row, where numbers become answers.
        other_tokens: rows that the export reads as other tokens.
    """
    largest, differing = 0.0, set(other_tokens)
    scale = max(1.0, *(float(np.abs(each).max()) for each in trained if each.size))
    for row, (one, other) in enumerate(zip(trained, exported, strict=True)):
        apart = float(np.abs(one - other).max()) if one.shape == other.shape and one.size else np.inf
        if not np.isfinite(apart) or apart > ROUNDING * scale:
            differing.add(row)
        largest = max(largest, apart if np.isfinite(apart) else np.finfo(np.float32).max.item())
    unlike = [row for row, (one, other) in enumerate(zip(*said, strict=True)) if one != other] if said else []
    return Agreement(
        len(trained),
        unit,
        largest,
        ROUNDING * scale,
        len(trained) - len(unlike),
        tuple(sorted(differing)),
        tuple(row for row in unlike if row not in differing),
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What the trained model and an export write to one prompt, token by token.

    Attributes:
        trained, exported: their tokens, without the one that ends a turn.
        log_probabilities: of the trained model's tokens up to the first that differs: by it, and by the export; nats.
            None where the export does not say it.
        gap: nats by which the trained model prefers its own token where they part; None where they do not.
        other_prompt: the export reads the prompt as other tokens.
    """

    trained: Sequence[int]
    exported: Sequence[int]
    log_probabilities: tuple[Sequence[float], Sequence[float | None]]
    gap: float | None
    other_prompt: bool = False


def agreement_of_writing(written: Sequence[Written], *, tolerance: float = ROUNDING_F16) -> Agreement:
    """Token by token: two models part where the trained one held two tokens for nearly equally likely, or differ.

    Args:
        tolerance: nats; two tokens closer than twice that may change places.
    """
    largest, differing, ties = 0.0, [], []
    for row, each in enumerate(written):
        own, other = each.log_probabilities
        apart = max((abs(x - y) for x, y in zip(own, other, strict=True) if y is not None), default=0.0)
        largest = max(largest, apart)
        if each.other_prompt or apart > tolerance or (each.gap or 0.0) > 2 * tolerance:
            differing.append(row)
        elif each.gap is not None:
            ties.append(row)
    same = sum(list(each.trained) == list(each.exported) for each in written)
    return Agreement(len(written), "nats", largest, tolerance, same, tuple(differing), tuple(ties))
