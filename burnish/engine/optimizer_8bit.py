"""AdamW with moments of eight bits: 2 bytes a weight instead of 8.

Each moment is kept in blocks of 256 numbers, a scale for each block and a code of eight bits for each number. Source:
Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization, arXiv:2110.02861; the step is bitsandbytes' own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from burnish.engine.flat import Flat
from burnish.engine.optimizer import BETAS, EPSILON, AdamW
from burnish.errors import RecipeError

BLOCK = 256  # numbers that share a scale
LEAST = 4_096  # numbers of a weight: the moments of smaller ones, norms and biases, are not worth rounding


class AdamW8bit(AdamW):
    """AdamW whose moments are kept in eight bits, but those of small weights and of `exact` ones.

    Args:
        exact: id() of weights whose moments stay float32: tables of embeddings, whose gradients differ most.

    """

    def __init__(self, groups: Sequence[dict[str, Any]], exact: Collection[int] = ()) -> None:
        super().__init__(groups)
        self._exact = frozenset(exact)
        self._codes = _codes()

    def hold(self, weights: Sequence[Tensor], values: Flat, gradients: Flat) -> None:
        """Each is moved alone: it has blocks of its own."""

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], factor: float, *, rate: float, decay: float
    ) -> None:
        whole = [(weight, own) for weight, own in zip(weights, gradients, strict=True) if not self._rounds(weight)]
        if whole:
            super()._move([each for each, _ in whole], [own for _, own in whole], factor, rate=rate, decay=decay)
        for weight, gradient in zip(weights, gradients, strict=True):
            if self._rounds(weight):
                self._move_rounded(weight, gradient.mul_(factor), rate=rate, decay=decay)

    def _rounds(self, weight: Tensor) -> bool:
        return weight.numel() >= LEAST and id(weight) not in self._exact

    def _move_rounded(self, weight: Tensor, gradient: Tensor, *, rate: float, decay: float) -> None:
        from bitsandbytes.functional import optimizer_update_8bit_blockwise

        if weight not in self.state:
            self.state[weight] = _no_rounded_moments(weight)
        state = self.state[weight]
        state["step"] = state["step"].cpu() + 1  # whose number is asked for: a device would have to be waited for
        signed, positive = self._codes_on(weight.device)
        optimizer_update_8bit_blockwise(
            "adam",
            gradient.contiguous(),
            weight,
            state["exp_avg"],
            state["exp_avg_sq"],
            *BETAS,
            beta3=0.0,
            alpha=0.0,
            eps=EPSILON,
            step=int(state["step"]),
            lr=rate,
            qmap1=signed,
            qmap2=positive,
            absmax1=state["exp_avg_scale"],
            absmax2=state["exp_avg_sq_scale"],
            weight_decay=decay,
        )

    def _codes_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._codes[0].device != device:
            self._codes = self._codes[0].to(device), self._codes[1].to(device)
        return self._codes


def _no_rounded_moments(weight: Tensor) -> dict[str, Tensor]:
    blocks = -(-weight.numel() // BLOCK)
    return {
        "step": torch.zeros((), dtype=torch.float32),
        "exp_avg": torch.zeros_like(weight, dtype=torch.uint8),
        "exp_avg_sq": torch.zeros_like(weight, dtype=torch.uint8),
        "exp_avg_scale": torch.zeros(blocks, dtype=torch.float32, device=weight.device),
        "exp_avg_sq_scale": torch.zeros(blocks, dtype=torch.float32, device=weight.device),
    }


def _codes() -> tuple[Tensor, Tensor]:
    """(256,) what the codes of the first and of the second moment stand for, as a share of their block's scale."""
    from bitsandbytes.functional import create_dynamic_map

    return create_dynamic_map(signed=True), create_dynamic_map(signed=False)


def require_8bit_moments() -> None:
    """Refuses a training that could not keep its moments in eight bits.

    Raises:
        RecipeError: [recipe/no-8bit-moments].
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise RecipeError(
            "recipe/no-8bit-moments",
            "moments of eight bits need bitsandbytes",
            where="training.optimizer",
            hint="pip install 'burnish[qlora]', or leave it out: --set training.optimizer=adamw",
        )
