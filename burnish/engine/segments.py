"""Attention inside each segment of a concatenated batch, as a function of transformers' attention interface.

Segments are spread over grids, those of about one length over one, for the products of attention only; or attended by
their lengths, without a grid, where there are kernels for that (`varlen.py`).

Shapes: T tokens of a grid, G segments, S longest segment, H heads.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from burnish.engine.attention import attend
from burnish.engine.varlen import Lengths, attend_by_lengths, refused
from burnish.model.bert import ATTENTIONS

ATTENTION = "burnish_segments"


@dataclass(frozen=True, slots=True)
class Segments:
    """Where the tokens of some segments that lie one behind the other belong; the source counts all tokens."""

    places: Tensor  # (T,) index of each token in a (G * S) grid
    slots: Tensor  # (G * S,) token that stands at each index, of its own count; at an empty one, its segment's last
    count: int  # G
    longest: int  # S
    # (G, 1, 1, S) True where a token is real; None when all segments are equally long. For segments that continue
    # others (G, 1, S, K): what each token sees of the K that its segment continues and has.
    mask: Tensor | None
    begin: int = 0  # of their tokens among those of the batch
    end: int | None = None
    source: Tensor | None = None  # (G * K,) which tokens of the batch they are, for segments that continue others
    at: Tensor | None = None  # (G, S) how far behind the beginning of what it continues each token stands
    lengths: Lengths | None = None  # for kernels that need no grid


_grids: ContextVar[Sequence[Segments]] = ContextVar("grids", default=())


@contextlib.contextmanager
def inside(grids: Sequence[Segments]) -> Iterator[None]:
    """In the block, models that attend by segments attend inside of these, which hold all tokens in their order."""
    token = _grids.set(grids)
    try:
        yield
    finally:
        _grids.reset(token)


def segment_attention(
    module: Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of each token over its own segment; signature of transformers' attention interface.

    Tokens are spread over a (G, S) grid for the product only: projections and feed-forward layers, where the time
    goes, never see padding. Attention probabilities are not dropped out (docs/decisions/0004-dropout.md).

    Args:
        query, key, value: (1, H, T, d); key and value may have fewer heads than query.
        sliding_window: tokens this far away or farther are not seen; None: the whole segment is.

    Returns:
        (1, T, H, d) and no attention weights.
    """
    grids = _grids.get()
    if not grids:
        raise RuntimeError("segment attention outside of a concatenated batch")
    device = query.device.type
    if torch.is_autocast_enabled(device):  # which would round them behind the grid, where there is more of them
        query, key, value = (states.to(torch.get_autocast_dtype(device)) for states in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    causal = bool(getattr(module, "is_causal", False))
    attended = []
    for grid, *own in zip(grids, *(_by_grids(states.squeeze(0), grids) for states in (query, key, value)), strict=True):
        if grid.source is not None:
            attended.append(_behind_others(grid, own[0], key[0], value[0], scale=scale, window=sliding_window))
        else:
            attended.append(_attended(grid, *own, causal=causal, scale=scale, window=sliding_window))
    return (attended[0] if len(attended) == 1 else torch.cat(attended)).unsqueeze(0), None


def _by_grids(states: Tensor, grids: Sequence[Segments]) -> Sequence[Tensor]:
    """(H, T, d) -> the tokens of each grid; cut at once, so that their gradients are put together at once, too."""
    tokens, begins = states.shape[1], [grid.begin for grid in grids]
    ends = [tokens if grid.end is None else grid.end for grid in grids]
    if begins == [0] and ends == [tokens]:
        return [states]
    if begins == [0, *ends[:-1]] and ends[-1] == tokens:
        return torch.split(states, [end - begin for begin, end in zip(begins, ends, strict=True)], 1)
    return [states[:, begin:end] for begin, end in zip(begins, ends, strict=True)]


def _attended(
    segments: Segments, query: Tensor, key: Tensor, value: Tensor, *, causal: bool, scale: float, window: int | None
) -> Tensor:
    """(T, H, d) of (H, T, d)."""
    kind = (query.device, query.dtype, len(query), len(key), query.shape[-1])
    if segments.lengths is not None and segments.mask is not None and not refused(*kind):
        return attend_by_lengths(segments.lengths, query, key, value, causal=causal, scale=scale, window=window)

    def spread(states: Tensor) -> Tensor:
        return _spread(segments, states)

    mask = None if causal else segments.mask  # right of a token there is only padding: causal hides it
    if window is not None and segments.longest > window:
        mask, causal = _within_window(segments, window, causal=causal), False
    output = attend(spread(query), spread(key), spread(value), mask=mask, causal=causal, scale=scale)
    return _gathered(segments, output)


def _behind_others(
    segments: Segments, query: Tensor, key: Tensor, value: Tensor, *, scale: float, window: int | None
) -> Tensor:
    """(T, H, d) of the queries of these segments, (H, T, d), with keys and values of the batch, (H, all tokens, d)."""
    source, at, mask = segments.source, segments.at, segments.mask
    assert source is not None
    assert at is not None
    assert mask is not None
    kind = (query.device, query.dtype, len(query), len(key), query.shape[-1])
    if segments.lengths is not None and not refused(*kind):
        return attend_by_lengths(segments.lengths, query, key, value, causal=True, scale=scale, window=window)

    def with_continued(states: Tensor) -> Tensor:
        flat = states.transpose(0, 1).index_select(0, source)
        return flat.view(segments.count, -1, *flat.shape[1:]).transpose(1, 2)

    if window is not None:
        keys_K = torch.arange(len(source) // segments.count, device=at.device)
        mask = mask & ((at[:, None, :, None] - keys_K) < window)
    own = _spread(segments, query)
    output = attend(own, with_continued(key), with_continued(value), mask=mask, causal=False, scale=scale)
    return _gathered(segments, output)


def _spread(segments: Segments, states: Tensor) -> Tensor:
    """(H, T, d) -> (G, H, S, d); in empty places its segment's last token, from where no gradient may come."""
    flat = states.transpose(0, 1)
    if len(segments.places) < len(segments.slots):  # else they are a grid as they lie
        flat = _Repeated.apply(flat, segments.slots, segments.places)  # type: ignore[no-untyped-call]
    return flat.reshape(segments.count, segments.longest, *flat.shape[1:]).transpose(1, 2)


class _Repeated(torch.autograd.Function):
    """Tokens by slots, some of them more than once; gradients come back from where each stands itself.

    Nobody reads what the others become: as queries they are left out, as keys they are hidden. Their gradients are
    zero and need not be added up.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor, slots: Tensor, places: Tensor) -> Tensor:
        ctx.places = places
        return flat.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0].index_select(0, ctx.places), None, None


def _gathered(segments: Segments, states: Tensor) -> Tensor:
    """(G, H, S, d) -> (T, H, d)."""
    flat = states.transpose(1, 2).reshape(-1, states.shape[1], states.shape[3])
    return flat if len(segments.places) == len(flat) else flat.index_select(0, segments.places)


def _within_window(segments: Segments, window: int, *, causal: bool) -> Tensor:
    """(G or 1, 1, S, S) True where a token may look: at itself, and at real tokens less than `window` away."""
    place_S = torch.arange(segments.longest, device=segments.places.device)
    distance_SS = place_S[:, None] - place_S
    near = (distance_SS.abs() < window)[None, None]
    if causal:
        return near & (distance_SS >= 0)
    if segments.mask is None:
        return near
    return (near & segments.mask) | (distance_SS == 0)  # padding far from all tokens must not divide by zero


def register() -> None:
    """Makes the attention known to `model/bert.py` and to transformers; the mask it would build is not needed."""
    ATTENTIONS[ATTENTION] = segment_attention
    if "transformers" not in sys.modules:  # then no model is one of its own
        return
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, segment_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


@contextlib.contextmanager
def own_attention(model: Module) -> Iterator[None]:
    """Inside the block, parts of `model` that attend by segments attend as transformers lets them: for padded rows."""
    switched: list[Any] = [
        part
        for part in model.modules()
        if getattr(getattr(part, "config", None), "_attn_implementation", None) == ATTENTION
        and hasattr(part, "set_attn_implementation")
    ]
    for part in switched:
        part.set_attn_implementation(part.get_correct_attn_implementation(None))
    try:
        yield
    finally:
        for part in switched:
            part.set_attn_implementation(ATTENTION)
