"""Attention in bf16 with a gradient of its own: what float32 gives, within bf16's eight bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from burnish.engine import attention
from burnish.engine.attention import attend

TOLERANCE = 6e-3  # of the length of the whole: 2 ** -8 for numbers that were rounded twice


def padding(lengths: list[int], longest: int) -> Tensor:
    return (torch.arange(longest) < torch.tensor(lengths)[:, None])[:, None, None]


@pytest.mark.parametrize("at_once", [attention.AT_ONCE, 1])
@pytest.mark.parametrize(
    ("heads", "shared", "longest", "mask", "causal"),
    [
        (4, 1, 9, padding([9, 4, 1], 9), False),
        (4, 1, 16, None, False),
        (4, 2, 9, None, True),
        (2, 1, 17, torch.ones(1, 1, 17, 17, dtype=torch.bool).tril().triu(-3), False),  # a window
        (4, 2, 300, None, True),  # several blocks of queries
    ],
)
def test_output_and_gradients_are_those_of_float32(
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
    heads: int,
    shared: int,
    longest: int,
    mask: Tensor | None,
    causal: bool,
) -> None:
    """Whether all segments are computed at once or one after the other."""
    monkeypatch.setattr(attention, "AT_ONCE", at_once)
    monkeypatch.setattr(attention, "KEPT", at_once)
    random = torch.Generator().manual_seed(0)
    shapes = [(3, heads, longest, 8), *[(3, heads // shared, longest, 8)] * 2]
    states = [torch.randn(shape, generator=random).bfloat16() for shape in shapes]
    outer = torch.randn(shapes[0], generator=random).bfloat16()
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        given = [each.to(dtype).requires_grad_() for each in states]
        output = attend(*given, mask=mask, causal=causal, scale=0.35)  # type: ignore[misc]
        found.append([output.detach(), *torch.autograd.grad(output, given, outer.to(dtype))])
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.bfloat16
        assert float((exact - rounded.float()).norm()) <= TOLERANCE * float(exact.norm())
