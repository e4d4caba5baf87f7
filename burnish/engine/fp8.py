"""Frozen weights in 8 bits, for the products of a LoRA training on GPUs that multiply them twice as fast.

Weights and states are scaled row by row so that the largest number of a row is the largest that 8 bits hold; the scales
multiply the product. A weight is kept twice, scaled by its rows for the output and by its columns for the gradient of
the input. The thin products of what learns stay in bf16. Source: Micikevicius et al. 2022, arXiv:2209.05433, of whose
two formats the one with more digits (E4M3) is used throughout, as each row has a scale of its own.

Shapes: T tokens, I numbers of the input, O of the output.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from burnish.errors import RecipeError

DEVICES = ("cuda",)
FIRST = (8, 9)  # compute capability from which on GPUs multiply 8 bits
LARGEST = 448.0  # of E4M3
WHOLE = 16  # sizes that the products take are multiples of this


class EightBits:
    """A frozen weight for products with it and with its transpose.

    Args:
        weight_OI: the weight; O and I are multiples of WHOLE.
    """

    def __init__(self, weight_OI: Tensor) -> None:
        self.forward_OI, scale_O1 = scaled(weight_OI)
        self.backward_IO, scale_I1 = scaled(weight_OI.T.contiguous())
        self.scale_1O, self.scale_1I = scale_O1.T.contiguous(), scale_I1.T.contiguous()

    def times(self, states_TI: Tensor) -> Tensor:
        """(T, O) bf16: states with the weight, x W'."""
        return _product(states_TI, self.forward_OI, self.scale_1O)

    def back(self, gradient_TO: Tensor) -> Tensor:
        """(T, I) bf16: gradients of the output with the weight, g W."""
        return _product(gradient_TO, self.backward_IO, self.scale_1I)


def scaled(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) in 8 bits, and (N, 1) float32 that each row is multiplied by to be what it was."""
    largest = rows.abs().amax(dim=-1, keepdim=True).float().clamp(min=1e-12)
    factor = LARGEST / largest
    return (rows.float() * factor).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), largest / LARGEST


def fits(weight_OI: Tensor) -> bool:
    return all(size % WHOLE == 0 for size in weight_OI.shape)


def require_fp8(device: torch.device) -> None:
    """Raises RecipeError [recipe/no-fp8] where the device cannot multiply 8 bits."""
    if device.type in DEVICES and (device.type != "cuda" or torch.cuda.get_device_capability(device) >= FIRST):
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    raise RecipeError(
        "recipe/no-fp8",
        f"frozen weights in 8 bits need an NVIDIA GPU from Ada or Hopper on, this is {name}",
        where="training.frozen_products",
        hint="leave it out: --set training.frozen_products=auto",
    )


def _product(states_TK: Tensor, weight_NK: Tensor, scale_1N: Tensor) -> Tensor:
    """(T, N) bf16."""
    rounded_TK, scale_T1 = _quickly(states_TK)
    product: Tensor = torch._scaled_mm(
        rounded_TK, weight_NK.T, scale_a=scale_T1, scale_b=scale_1N, out_dtype=torch.bfloat16, use_fast_accum=True
    )
    return product


_compiled: list[Callable[[Tensor], tuple[Tensor, Tensor]]] = []


def _quickly(rows: Tensor) -> tuple[Tensor, Tensor]:
    """`scaled`, on a GPU in one pass over memory where torch can compile that."""
    if rows.device.type != "cuda":
        return scaled(rows)
    if not _compiled:
        _compiled.append(torch.compile(scaled, dynamic=True))
    if _compiled[0] is not scaled:
        try:
            return _compiled[0](rows)
        except Exception as error:  # what a compiler may raise has no common class
            if isinstance(error, torch.OutOfMemoryError):
                raise
            _compiled[0] = scaled
    return scaled(rows)


def why_slow() -> str:
    """What is to be said where scaling could not be compiled and takes several passes; else nothing."""
    return "; scaling could not be compiled and takes several passes over memory" if _compiled[:1] == [scaled] else ""
