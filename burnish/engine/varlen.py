"""Attention inside segments that lie one behind the other, told by their lengths: no grid, no padding.

torch's FlashAttention kernels do this on GPUs in half precision. They are called through torch's own operators, whose
arguments have stayed the same where the function around them has changed with every release. Whether they give what
attention is, forward and backward, is tried on a few numbers before a kind of heads is left to them.

Shapes: T tokens of the queries, K tokens of the keys, G segments, H heads, d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from burnish.engine.memory import is_out_of_memory

DEVICES = ("cuda",)  # where the kernels may be
WIDEST = 256  # numbers of a head that they take, in steps of eight
TOLERANCE = 0.03  # of the largest number: bf16 keeps 8 bits, and probabilities are rounded to it before a product
# What is tried: tokens that each segment has of its own, and that it goes on behind; whether it sees only what stands
# before it; how far it sees.
TRIED: tuple[tuple[tuple[int, ...], tuple[int, ...], bool, int | None], ...] = (
    ((5, 1, 18), (0, 0, 0), True, None),
    ((5, 1, 18), (0, 0, 0), False, None),
    ((5, 1, 18), (0, 0, 0), True, 3),
    ((5, 1, 18), (16, 4, 0), True, None),
    ((1, 1), (3, 0), True, None),
)
_KNOWN: dict[tuple[Any, ...], str] = {}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Where segments begin; the same for all layers of a pass.

    Attributes:
        starts, key_starts: (G + 1,) int32, of the queries and of the keys of each segment, and where the last ends.
        longest, longest_keys: tokens.
        keys: (K,) which token is which key, where segments share some; None: as they lie.
    """

    starts: Tensor
    key_starts: Tensor
    longest: int
    longest_keys: int
    keys: Tensor | None = None


def refused(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, width: int) -> str:
    """Why heads of this kind are not left to the kernels, for the run's record; empty when they are."""
    if device.type not in DEVICES or dtype not in (torch.bfloat16, torch.float16):
        return "not in half precision on a GPU"
    if width % 8 or width > WIDEST:
        return f"heads of {width} numbers"
    key = (device, dtype, heads, key_heads, width)
    if key not in _KNOWN:
        _KNOWN[key] = _tried(device, dtype, heads, key_heads, width)
    return _KNOWN[key]


def attend_by_lengths(
    lengths: Lengths, query: Tensor, key: Tensor, value: Tensor, *, causal: bool, scale: float, window: int | None
) -> Tensor:
    """(T, H, d) of (H, T, d); key and value may have fewer heads, which several queries share.

    A segment with more keys than queries has the queries last: its first tokens are another's, that it goes on from.

    Args:
        window: tokens this far away or farther are not seen.
    """
    query, key, value = (states.transpose(0, 1) for states in (query, key, value))
    if lengths.keys is not None:
        key, value = key.index_select(0, lengths.keys), value.index_select(0, lengths.keys)
    attended: Tensor = _Flash.apply(query, key, value, lengths, causal, scale, window)  # type: ignore[no-untyped-call]
    return attended


class _Flash(torch.autograd.Function):
    """Source: Dao 2023, FlashAttention-2, arXiv:2307.08691; torch's operators for rows of unequal length."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, lengths: Lengths, causal: bool, scale: float, window: Any
    ) -> Tensor:
        places = (lengths.starts, lengths.key_starts, lengths.longest, lengths.longest_keys)
        near = {} if window is None else {"window_size_left": window - 1, "window_size_right": window - 1}
        if window is not None and causal:
            near["window_size_right"] = 0
        output, exponents, state, unused, _ = torch.ops.aten._flash_attention_forward(
            query, key, value, *places, 0.0, causal, False, scale=scale, **near
        )
        ctx.save_for_backward(query, key, value, output, exponents, state, unused)
        ctx.places, ctx.causal, ctx.more = places, causal, {"scale": scale, **near}
        return output  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        query, key, value, output, exponents, state, unused = ctx.saved_tensors
        found = torch.ops.aten._flash_attention_backward(
            gradients[0].contiguous(),
            query,
            key,
            value,
            output,
            exponents,
            *ctx.places,
            0.0,
            ctx.causal,
            state,
            unused,
            **ctx.more,
        )
        return *found, None, None, None, None


def _tried(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, width: int) -> str:
    """Compares the kernels with attention in float32 on a few segments, in all the ways they are asked."""
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            for own, before, causal, window in TRIED:
                keys = np.add(own, before)
                ends, key_ends = (np.cumsum([0, *counts]).astype(np.int32) for counts in (own, keys))
                places = torch.arange(int(key_ends[-1]), device=device) if any(before) else None
                starts = [torch.from_numpy(each).to(device) for each in (ends, key_ends)]
                lengths = Lengths(starts[0], starts[1], max(own), int(keys.max()), places)
                states = [
                    _numbers(count, tokens, width, place, device, dtype)
                    for place, (count, tokens) in enumerate(
                        [(heads, int(ends[-1])), *[(key_heads, int(key_ends[-1]))] * 2]
                    )
                ]
                one = attend_by_lengths(lengths, *states, causal=causal, scale=width**-0.5, window=window)
                parts = [
                    [states[0][:, begin:end], *(each[:, first:last] for each in states[1:])]
                    for begin, end, first, last in zip(ends, ends[1:], key_ends, key_ends[1:], strict=False)
                ]
                other = torch.cat([_plain(*part, causal=causal, window=window) for part in parts])
                found = [[out.detach(), *torch.autograd.grad(out.float().sin().sum(), states)] for out in (one, other)]
                if not all(_alike(ours, plain) for ours, plain in zip(*found, strict=True)):
                    return "FlashAttention gave other numbers"
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        return f"FlashAttention refused ({type(error).__name__})"
    return ""


def _alike(one: Tensor, other: Tensor) -> bool:
    most = max(1.0, float(other.float().abs().max()))
    return float((one.float() - other.float()).abs().max()) <= TOLERANCE * most


def _plain(query: Tensor, key: Tensor, value: Tensor, *, causal: bool, window: int | None) -> Tensor:
    """(tokens, H, d) of one segment, whose queries are the last of its tokens."""
    shared, kind = len(query) // len(key), query.dtype
    query, key, value = query.float(), *(each.float().repeat_interleave(shared, 0) for each in (key, value))
    place_K = torch.arange(key.shape[1], device=key.device)
    distance = place_K[key.shape[1] - query.shape[1] :, None] - place_K
    seen = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    if window is not None:
        seen = seen & (distance.abs() < window)
    scale = query.shape[-1] ** -0.5
    attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)
    return attended.transpose(0, 1).to(kind)


def _numbers(heads: int, tokens: int, width: int, place: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers between -1 and 1 that no generator gives: the run's own would be moved."""
    count = torch.arange(heads * tokens * width, device=device, dtype=torch.float32)
    return (count * (1.7 + place)).sin().view(heads, tokens, width).to(dtype).requires_grad_()
