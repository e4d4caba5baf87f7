"""Tensors side by side in one buffer, so that one call moves them all.

A model of some hundred weights would else call every part of an optimizer's step some hundred times.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

ALIGNED = 32  # numbers of which each tensor takes a multiple: in bf16, too, it then begins where a cache line does


class Flat:
    """Room for tensors of given shapes, zero at first; what lies between two of them stays zero.

    Args:
        like: tensors of the shapes, on one device.
        dtype: of the numbers; None: that of the first.

    Attributes:
        buffer: (N,) all numbers.
        parts: views of it in the shapes.
    """

    def __init__(self, like: Sequence[Tensor], dtype: torch.dtype | None = None) -> None:
        self._starts = [0, *accumulate(tensor.numel() + -tensor.numel() % ALIGNED for tensor in like)]
        first = like[0]
        self.buffer = torch.zeros(self._starts[-1], dtype=dtype or first.dtype, device=first.device)
        self.parts = [
            self.buffer[start : start + tensor.numel()].view(tensor.shape)
            for start, tensor in zip(self._starts, like, strict=False)
        ]

    def between(self, place: slice) -> Tensor:
        """(n,) the numbers of some parts that follow each other."""
        return self.buffer[self._starts[place.start] : self._starts[place.stop]]
