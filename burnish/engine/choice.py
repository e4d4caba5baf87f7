"""Which weights a training ends with: its best checkpoint, its last, an average of some, or a mixture with the start.

All candidates are judged on validation rows, never on the test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from burnish.engine.options import Choose

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)  # of the way from the start that an interpolation goes
Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to end a training.

    Attributes:
        steps: checkpoints whose weights are averaged; of one, its own.
        share: of the way from the start to them, 0..1.
    """

    name: str
    steps: tuple[int, ...]
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a candidate may forget.

    Attributes:
        rise_of: relative rise of a model's loss on probes over the base's, as the tolerance is meant.
        tolerance: highest rise that is let through.
    """

    rise_of: Callable[[nn.Module], float]
    tolerance: float


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with what validation says of it, and where there are probes the relative rise of their loss."""

    candidate: Candidate
    value: float
    loss: float
    rise: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self.candidate), "value": self.value, "loss": self.loss, "rise": self.rise}


def candidates(choose: Choose, *, best: int, newest: Sequence[int]) -> list[Candidate]:
    """What is compared; `best` comes first, so that it wins a tie.

    Args:
        best: step of the best checkpoint.
        newest: steps of the newest checkpoints that were kept, the last one first.

    Source: averages of checkpoints: Vaswani et al. 2017, arXiv:1706.03762, section 6.1; interpolation with the start:
    WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903.
    """
    ways = {
        "best": [Candidate("best", (best,))],
        "last": [Candidate("last", (newest[0],))],
        "average": [Candidate(f"average of {len(newest)}", tuple(newest))],
        "interpolation": [Candidate(f"interpolation {share:g}", (best,), share) for share in SHARES],
    }
    if choose == "auto":
        return [candidate for way in ways.values() for candidate in way]
    return [*ways["best"], *ways["interpolation"]] if choose == "interpolation" else ways[choose]


def mixed(candidate: Candidate, start: Weights, weights_of: Callable[[int], dict[str, Tensor]]) -> Weights:
    """The weights of a candidate, and whatever else its first checkpoint holds.

    The update of a LoRA layer is scaled through its B alone, which began at zero, so that the layer itself lies at
    this share of the way. A head began at random: it stays as it was learned.

    Args:
        start: the weights that learn, before the first step; read only where something is mixed.
        weights_of: what the checkpoint of a step holds, read anew.
    """
    first, *others = candidate.steps
    found = weights_of(first)
    for step in others:
        older = weights_of(step)
        for name in start:
            found[name] += older[name]
    for name in start if others else ():
        found[name] /= len(candidate.steps)
    if candidate.share < 1:
        for name, began in start.items():
            if ".lora_A." not in name and not name.startswith("head."):
                found[name] = torch.lerp(began.to(found[name]), found[name], candidate.share)
    return found


def chosen(scored: Sequence[Scored], *, higher_is_better: bool, tolerance: float | None) -> Scored:
    """The best on validation of those that forget no more than is tolerated; when all do, the one that forgets least.

    Equal ones are told apart by their loss, then by their order.
    """
    sign = 1.0 if higher_is_better else -1.0
    known = [s for s in scored if s.rise is not None]
    within = [s for s in scored if tolerance is None or s.rise is None or s.rise <= tolerance]
    if not within:
        return min(known, key=lambda s: s.rise or 0.0)
    return max(within, key=lambda s: (sign * s.value, -s.loss))
