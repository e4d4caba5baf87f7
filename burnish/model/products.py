"""Products with weights that stay as they are, from weights that lie as the processor multiplies them.

A linear layer lays its weights out for training. oneDNN can lay them out once for its own kernels, which read them at
the speed of the memory: with few rows, as in decoding, a product then takes half the time or less, in float32 and in
bf16, and with many rows it is not slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.model.fit import machine_memory

ROWS = 8  # that the layout is chosen for; the one for a single row is worse for all other numbers of them
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}  # of the largest number: the same sums in another order

MEMORY_SHARE = 0.2  # of the machine's, that a second copy of the weights may take; two models may be judged at a time

Product = Callable[[Tensor], Tensor]


def can_pack() -> bool:
    """Whether this torch has oneDNN and the operators that torch.compile uses of it."""
    onednn: Any = torch.backends.mkldnn
    ops: Any = torch.ops.mkldnn
    there = hasattr(ops, "_reorder_linear_weight") and hasattr(ops, "_linear_pointwise")
    return bool(onednn.is_available() and onednn.enabled and there)


def has_room(needed: int) -> bool:
    """Whether a second copy of weights of so many bytes fits beside the first.

    Not into what is free now: the same machine is to compute in the same way again.
    """
    return needed <= MEMORY_SHARE * machine_memory()[0]


class Packed:
    """Linear layers that read the same states, as one product. Its result stands side by side, in its own dtype.

    Args:
        layers: on the CPU.
        dtype: that is multiplied in.
        gelu: whether their result goes through gelu, the exact one.

    Raises:
        RuntimeError: oneDNN cannot, or gives something else than torch.
    """

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype, *, gelu: bool = False) -> None:
        weight_OI = _beside([layer.weight.detach() for layer in layers]).to(dtype)
        bias_O = _bias(layers)
        self._bias = None if bias_O is None else bias_O.to(dtype)
        self._dtype, self._gelu = dtype, gelu
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight_OI, ROWS)
        self.size_bytes = weight_OI.nbytes
        self._require_the_same(weight_OI)

    def __call__(self, states: Tensor) -> Tensor:
        """(T, I) -> (T, O)."""
        then, way = ("gelu", "none") if self._gelu else ("none", "")
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            states.to(self._dtype), self._weight, self._bias, then, [], way
        )
        return product

    def plus(self, states: Tensor, others: Tensor) -> Tensor:
        """(T, I) and (T, O) -> (T, O): the product and others, added up before they are rounded."""
        added: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            states.to(self._dtype), others.to(self._dtype), self._weight, self._bias, "add"
        )
        return added

    def _require_the_same(self, weight_OI: Tensor) -> None:
        probe_TI = torch.arange(2 * weight_OI.shape[1], dtype=torch.float32).sin().view(2, -1).to(self._dtype)
        expected = F.linear(probe_TI, weight_OI, self._bias).float()
        expected = F.gelu(expected) if self._gelu else expected
        difference = float((self(probe_TI).float() - expected).abs().max())
        if not difference <= TOLERANCE[self._dtype] * float(expected.abs().max()):
            raise RuntimeError(f"a product with packed weights is off by {difference:.2g}")


class Plain:
    """The same by torch's own products, with the weights where they are."""

    size_bytes = 0

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._layers = [(layer.weight.detach(), layer.bias) for layer in layers]

    def __call__(self, states: Tensor) -> Tensor:
        return _beside([F.linear(states, weight, bias) for weight, bias in self._layers], dim=-1)


def _beside(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dim)


def _bias(layers: Sequence[nn.Linear]) -> Tensor | None:
    if all(layer.bias is None for layer in layers):
        return None
    return _beside(
        [layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach() for layer in layers]
    )
