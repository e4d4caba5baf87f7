"""Attention made of batched matrix products, for short segments in bf16 on a CPU.

torch's own kernel takes its products apart there: for segments of 16 tokens its backward pass is fifty times slower than
its forward pass, and longer than all other parts of a layer together; its forward pass takes two to five times as long
as batched products do. Long segments it does faster.

Shapes: G segments, H heads, S longest segment, d width of a head, K keys filled up to a multiple of WHOLE.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SHORT = 192  # tokens of a segment that learns; of longer ones torch's own way is faster, and keeps no scores
READ = 64  # the same without gradients
AT_ONCE = 4 * 2**20  # scores that are computed at once, float32; what takes more is computed again for its gradient
# Keys are filled up to a multiple of this, or torch takes the softmax number by number, ten times slower.
WHOLE = 16


def attend(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """Scaled dot-product attention, (G, H, S, d); key and value may have fewer heads, which several queries share.

    Args:
        mask: True where a key may be seen, broadcast to (G, 1, S, keys); excludes `causal`, which wants as many keys
            as queries.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        query, key, value = (states.to(torch.get_autocast_dtype("cpu")) for states in (query, key, value))
    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    longest = max(query.shape[2], key.shape[2])
    if longest <= (SHORT if learns else READ) and query.device.type == "cpu" and query.dtype == torch.bfloat16:
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
        real = key.shape[2]
        key, value = _filled_up(key), _filled_up(value)
        bias = _bias(mask, real, key.shape[2])
        pieces = list(_pieces(query, key))
        attended, seen = [], None
        with torch.autocast("cpu", enabled=False):
            for part in pieces:
                seen = _probabilities(query[part], key[part], _of(bias, part), scale)
                attended.append(torch.matmul(seen.to(value.dtype), value[part]))
        ctx.save_for_backward(query, key, value, bias, seen if len(pieces) == 1 else None)
        ctx.scale, ctx.real = scale, real
        return attended[0] if len(pieces) == 1 else torch.cat(attended)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, kept = ctx.saved_tensors
        found: list[list[Tensor]] = []
        for part in _pieces(query, key):
            seen, outer = kept, gradient[part]
            if seen is None:
                seen = _probabilities(query[part], key[part], _of(bias, part), ctx.scale)
            of_seen = torch.matmul(outer, value[part].transpose(-1, -2)).float()
            of_scores = torch._softmax_backward_data(of_seen, seen, -1, seen.dtype).mul_(ctx.scale).to(query.dtype)
            of_query = torch.matmul(of_scores, key[part])
            of_key = torch.matmul(of_scores.transpose(-1, -2), query[part])
            found.append([of_query, of_key, torch.matmul(seen.to(outer.dtype).transpose(-1, -2), outer)])
        of_query, of_key, of_value = (
            torch.cat(parts) if len(found) > 1 else parts[0] for parts in zip(*found, strict=True)
        )
        return of_query, of_key[:, :, : ctx.real], of_value[:, :, : ctx.real], None, None


def _filled_up(states: Tensor) -> Tensor:
    """(G, H, S, d) -> (G, H, K, d), the last ones zero."""
    groups, heads, longest, width = states.shape
    more = -longest % WHOLE
    if not more:
        return states
    filled = states.new_zeros(groups, heads, longest + more, width)
    filled[:, :, :longest] = states
    return filled


def _bias(mask: Tensor | None, real: int, filled: int) -> Tensor | None:
    """What is added to the scores, (1 or G, 1, 1 or S, K) float32: 0 where a key may be seen, else minus infinity."""
    if mask is None:
        if real == filled:
            return None
        mask = torch.ones(1, 1, 1, real, dtype=torch.bool)
    bias = torch.full((*mask.shape[:-1], filled), -torch.inf)
    bias[..., : mask.shape[-1]].masked_fill_(mask, 0.0)
    return bias


def _of(bias: Tensor | None, part: slice) -> Tensor | None:
    return bias if bias is None or len(bias) == 1 else bias[part]


def _pieces(query: Tensor, key: Tensor) -> Iterator[slice]:
    """Segments whose scores are computed at once."""
    scores = query.shape[1] * query.shape[2] * key.shape[2]
    step = max(1, AT_ONCE // scores)
    for start in range(0, len(query), step):
        yield slice(start, start + step)


def _probabilities(query: Tensor, key: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """(G, H, S, K) how much of each key a query takes, float32."""
    groups, heads, queries, width = query.shape
    shape = (groups, heads, queries, key.shape[2])
    query, key = (each.to(torch.float32, memory_format=torch.contiguous_format) for each in (query, key))
    query, key = query.view(-1, queries, width), key.view(-1, key.shape[2], width)
    if bias is None:
        scores = torch.bmm(query, key.transpose(1, 2)).mul_(scale)
    else:
        scores = bias.expand(shape).clone(memory_format=torch.contiguous_format).view(len(query), *shape[2:])
        scores.baddbmm_(query, key.transpose(1, 2), alpha=scale)
    return torch.softmax(scores, -1).view(shape)
