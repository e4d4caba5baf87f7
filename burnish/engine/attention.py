"""Attention made of batched matrix products, for bf16 on a CPU.

torch's own kernel takes its products apart there: for segments of 16 tokens its backward pass is fifty times slower
than its forward pass, and longer than all other parts of a layer together. Products of whole blocks of queries are
faster up to a thousand tokens, and queries that share a key are rows of one product.

Shapes: G segments, H heads of queries, N of keys, S queries of a segment, K its keys, d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Tokens of a segment up to which this is faster: where each sees only what is before it, where it sees all, and where
# there are no gradients. Of queries and keys that are not equally many, the product counts.
CAUSAL, LEARNT, READ = 1_024, 512, 256
BLOCK = 128  # queries that are computed together where each sees only what is before it
AT_ONCE = 4 * 2**20  # scores that are computed at once, float32
KEPT = (
    8 * 2**20
)  # scores of a layer that are kept for its gradient, bf16; where there are more, they are computed again
WHOLE = 16  # keys are filled up to a multiple of this, or torch takes the softmax number by number, ten times slower
WIDE = 32  # the same for its gradient in bf16; that of fewer keys is taken in float32


def attend(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """Scaled dot-product attention, (G, H, S, d); key and value may have fewer heads, which several queries share.

    Args:
        mask: True where a key may be seen, broadcast to (G, 1, S, K); excludes `causal`, which wants as many keys as
            queries.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        query, key, value = (states.to(torch.get_autocast_dtype("cpu")) for states in (query, key, value))
    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    most = READ if not learns else CAUSAL if causal else LEARNT
    if query.shape[2] * key.shape[2] <= most**2 and query.device.type == "cpu" and query.dtype == torch.bfloat16:
        attended: Tensor = _InProducts.apply(query, key, value, mask, causal, scale)  # type: ignore[no-untyped-call]
        return attended
    grouped = query.shape[1] != key.shape[1]
    if grouped and query.device.type == "cuda" and query.dtype == torch.float32:
        # of torch's kernels for float32 none shares keys: it would keep the scores of all pairs of tokens
        shared, grouped = query.shape[1] // key.shape[1], False
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
    )


def _of_scores(of_seen: Tensor, seen: Tensor) -> Tensor:
    """The gradient of scores, from that of their softmax."""
    if seen.shape[-1] >= WIDE:
        return torch._softmax_backward_data(of_seen, seen, -1, seen.dtype)
    wide = torch._softmax_backward_data(of_seen.float(), seen.float(), -1, torch.float32)
    return wide.to(seen.dtype)


class _InProducts(torch.autograd.Function):
    """Scores and their softmax in float32, the products with them in bf16, as torch's own kernel has it."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float
    ) -> Tensor:
        ctx.keys, ctx.scale, ctx.causal = key.shape[2], scale, causal
        key, value = _filled_up(key), _filled_up(value)
        bias = _later() if causal else _bias(mask, ctx.keys, key.shape[2])
        blocks = _blocks(query, key, causal=causal)
        keeps = sum(block.scores for block in blocks) <= KEPT
        attended, kept = torch.empty(query.shape, dtype=query.dtype), list[Tensor]()
        with torch.autocast("cpu", enabled=False):
            for block in blocks:
                seen = _seen(block, query, key, bias, scale)
                block.write(attended, seen, block.of_keys(value))
                if keeps:
                    kept.append(seen)
        ctx.save_for_backward(query, key, value, None if causal else bias, *kept)
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, *kept = ctx.saved_tensors
        blocks = _blocks(query, key, causal=ctx.causal)
        bias = _later() if ctx.causal else bias
        of_query, scaled = torch.empty(query.shape, dtype=query.dtype), value * ctx.scale
        apart = any(block.first for block in blocks)  # then keys are seen by several blocks, which are added up
        made = partial(torch.zeros, dtype=torch.float32) if apart else partial(torch.empty, dtype=key.dtype)
        of_key, of_value = made(key.shape), made(key.shape)
        for place, block in enumerate(blocks):
            seen = kept[place] if kept else _seen(block, query, key, bias, ctx.scale)
            outer, own = block.of_queries(gradient), block.of_queries(query)
            of_seen = torch.bmm(outer, block.of_keys(scaled).transpose(1, 2))
            of_scores = _of_scores(of_seen, seen)
            block.write(of_query, of_scores, block.of_keys(key))
            for sums, left, right in ((of_key, of_scores, own), (of_value, seen, outer)):
                if apart:
                    block.of_keys(sums).add_(torch.bmm(left.transpose(1, 2), right))
                else:
                    torch.bmm(left.transpose(1, 2), right, out=block.of_keys(sums))
        real = slice(0, ctx.keys)
        return of_query, of_key[:, :, real].to(key.dtype), of_value[:, :, real].to(key.dtype), None, None, None


@dataclass(frozen=True, slots=True)
class _Block:
    """Queries of some segments, and how many keys they may see."""

    segments: slice
    first: int
    end: int
    keys: int
    causal: bool
    shape: tuple[int, int, int, int]  # of its states, (g, H, s, d)
    shared: int  # queries of each key

    @property
    def queries(self) -> tuple[slice, slice, slice]:
        return self.segments, slice(None), slice(self.first, self.end)

    @property
    def scores(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2] * self.keys

    def of_queries(self, states: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """(G, H, S, d) -> (g * N, queries of each key * s, d)."""
        own = states[self.queries].to(dtype or states.dtype, memory_format=torch.contiguous_format)
        segments, heads, queries, width = self.shape
        return own.contiguous().view(segments * heads // self.shared, self.shared * queries, width)

    def write(self, into: Tensor, left: Tensor, right: Tensor) -> None:
        """Writes a product, (g * N, queries of each key * s, d), to its places in (G, H, S, d)."""
        segments, heads, queries, width = self.shape
        if queries == into.shape[2]:
            whole = into[self.segments].view(segments * heads // self.shared, self.shared * queries, width)
            torch.bmm(left, right, out=whole)
        else:
            into[self.queries] = torch.bmm(left, right).view(self.shape)

    def of_keys(self, states: Tensor) -> Tensor:
        """(G, N, K, d) -> (g * N, keys, d), a view."""
        return states[self.segments].flatten(0, 1)[:, : self.keys]

    def hide(self, scores: Tensor, bias: Tensor) -> None:
        """Adds to its scores, (g * N, queries of each key * s, keys), what keeps keys from being seen."""
        segments, heads, queries, _ = self.shape
        each = scores.view(segments, heads // self.shared, self.shared, queries, self.keys)
        if self.causal:  # all of its queries see the keys before the first of them
            each[..., self.first :].add_(bias[:queries, : self.keys - self.first])
        else:
            each.add_((bias if len(bias) == 1 else bias[self.segments])[:, :, None])


def _blocks(query: Tensor, key: Tensor, *, causal: bool) -> tuple[_Block, ...]:
    return _blocks_of(query.shape, key.shape, causal, AT_ONCE)


@lru_cache(maxsize=1_024)  # every layer asks for the same
def _blocks_of(queries_shape: torch.Size, keys_shape: torch.Size, causal: bool, at_once: int) -> tuple[_Block, ...]:
    segments, heads, queries, width = queries_shape
    keys, shared = keys_shape[2], heads // keys_shape[1]
    size = min(queries, BLOCK) if causal else queries
    step, blocks = max(1, at_once // (heads * size * keys)), list[_Block]()
    for start in range(0, segments, step):
        some = slice(start, min(start + step, segments))
        for first in range(0, queries, size):
            end = min(first + size, queries)
            seen = min(keys, end + -end % WHOLE) if causal else keys
            shape = (some.stop - start, heads, end - first, width)
            blocks.append(_Block(some, first, end, seen, causal, shape, shared))
    return tuple(blocks)


def _filled_up(states: Tensor) -> Tensor:
    """(G, N, S, d) -> (G, N, K, d), the last ones zero."""
    segments, heads, longest, width = states.shape
    more = -longest % WHOLE
    if not more:
        return states.contiguous()
    filled = states.new_zeros(segments, heads, longest + more, width)
    filled[:, :, :longest] = states
    return filled


@cache
def _later() -> Tensor:
    """What is added to the scores of a block where each token sees what is before it, float32.

    A query to a row, and a column to each key from the one on that stands beside the block's first query.
    """
    return torch.full((BLOCK, BLOCK + WHOLE), -torch.inf).triu_(1)


def _bias(mask: Tensor | None, real: int, filled: int) -> Tensor | None:
    """What is added to the scores, (1 or G, 1, 1 or S, K) float32: 0 where a key may be seen, else minus infinity."""
    if mask is None:
        if real == filled:
            return None
        mask = torch.ones(1, 1, 1, real, dtype=torch.bool)
    bias = torch.full((*mask.shape[:-1], filled), -torch.inf)
    bias[..., : mask.shape[-1]].masked_fill_(mask, 0.0)
    return bias


def _seen(block: _Block, query: Tensor, key: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """(g * N, queries of each key * s, keys) how much of each key a query takes."""
    own, keys = block.of_queries(query, torch.float32), block.of_keys(key).to(torch.float32, copy=True)
    scores = torch.bmm(own, keys.mul_(scale).transpose(1, 2))
    if bias is not None:
        block.hide(scores, bias)
    return torch.softmax(scores, -1).to(query.dtype)
