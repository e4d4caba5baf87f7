"""Attention whose gradient is made of batched matrix products, for bf16 on a CPU.

torch's own backward pass for attention in bf16 takes its products apart there: for segments of 16 tokens it is fifty
times slower than the forward pass, and longer than all other parts of a layer together. Longer ones it does faster.

Shapes: G segments, H heads, S longest segment, d width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SHORT = 192  # tokens of a segment; of longer ones torch's own way is faster, and keeps no scores
AT_ONCE = 4 * 2**20  # scores that are computed at once, float32; what takes more is computed again for its gradient
# Segments are filled up to a multiple of this, or torch takes the softmax number by number, ten times slower; and each
# other length has products of its own, which oneDNN compiles and keeps.
WHOLE = 16


def attend(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """Scaled dot-product attention, (G, H, S, d); key and value may have fewer heads, which several queries share.

    Args:
        mask: True where a key may be seen, broadcast to (G, 1, S, S); excludes `causal`.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        query, key, value = (states.to(torch.get_autocast_dtype("cpu")) for states in (query, key, value))
    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    short = max(query.shape[2], key.shape[2]) <= SHORT
    if learns and short and query.device.type == "cpu" and query.dtype == torch.bfloat16:
        shared = query.shape[1] // key.shape[1]
        if shared > 1:
            key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        if causal:
            mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()[None, None]
        attended: Tensor = _InProducts.apply(query, key, value, mask, scale)  # type: ignore[no-untyped-call]
        return attended
    grouped = query.shape[1] != key.shape[1]
    if grouped and query.device.type == "cuda" and query.dtype == torch.float32:
        # of torch's kernels for float32 none shares keys: it would keep the scores of all pairs of tokens
        shared, grouped = query.shape[1] // key.shape[1], False
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
    )


class _InProducts(torch.autograd.Function):
    """Scores and their softmax in float32, the products with them in bf16, as torch's own kernel has it."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        more = -key.shape[2] % WHOLE
        query, key, value = (_filled_up(states, more) for states in (query, key, value))
        pieces = list(_pieces(query, key))
        attended, seen = [], None
        with torch.autocast("cpu", enabled=False):
            for part in pieces:
                seen = _probabilities(query[part], key[part], mask, part, scale, more)
                attended.append(torch.matmul(seen.to(value.dtype), value[part]))
        ctx.save_for_backward(query, key, value, mask, seen if len(pieces) == 1 else None)
        ctx.scale, ctx.more = scale, more
        return (attended[0] if len(pieces) == 1 else torch.cat(attended))[:, :, : key.shape[2] - more]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, kept = ctx.saved_tensors
        found: list[list[Tensor]] = []
        for part in _pieces(query, key):
            seen, outer = kept, _filled_up(gradient[part], ctx.more)
            if seen is None:
                seen = _probabilities(query[part], key[part], mask, part, ctx.scale, ctx.more)
            of_seen = torch.matmul(outer, value[part].transpose(-1, -2)).float()
            of_scores = torch._softmax_backward_data(of_seen, seen, -1, seen.dtype).mul_(ctx.scale).to(query.dtype)
            of_query = torch.matmul(of_scores, key[part])
            of_key = torch.matmul(of_scores.transpose(-1, -2), query[part])
            found.append([of_query, of_key, torch.matmul(seen.to(outer.dtype).transpose(-1, -2), outer)])
        whole = [torch.cat(parts) if len(found) > 1 else parts[0] for parts in zip(*found, strict=True)]
        real = key.shape[2] - ctx.more
        return *(states[:, :, :real] for states in whole), None, None


def _filled_up(states: Tensor, more: int) -> Tensor:
    """(G, H, S, d) -> (G, H, S + more, d), the last ones zero."""
    groups, heads, longest, width = states.shape
    filled = states.new_zeros(groups, heads, longest + more, width)
    filled[:, :, :longest] = states
    return filled


def _pieces(query: Tensor, key: Tensor) -> Iterator[slice]:
    """Segments whose scores are computed at once."""
    scores = query.shape[1] * query.shape[2] * key.shape[2]
    step = max(1, AT_ONCE // scores)
    for start in range(0, len(query), step):
        yield slice(start, start + step)


def _probabilities(query: Tensor, key: Tensor, mask: Tensor | None, part: slice, scale: float, more: int) -> Tensor:
    """(G, H, S, S + more) how much of each key a query takes, float32; of the last `more` keys nothing."""
    scores = torch.matmul(query.float(), key.float().transpose(-1, -2)).mul_(scale)
    real = scores.shape[-1] - more
    if more:
        scores[..., real:] = -torch.inf
    if mask is not None:
        scores[..., :real, :real].masked_fill_(~(mask if len(mask) == 1 else mask[part]), -torch.inf)
    return torch.softmax(scores, -1)
