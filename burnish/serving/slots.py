"""Keys and values of many conversations at once, and attention over them for tokens that lie one behind the other.

A pass computes some tokens of each of several rows without padding: the next token of rows that write, and pieces of
prompts that are being read. Every row has a slot, in which the keys and values of its tokens stay from pass to pass.
Rows that write have the first slots, so their attention reads the cache where it lies.

Shapes: T tokens of a pass, B rows that write, H heads, G heads of keys and values, S slots, L tokens in a slot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ATTENTION = "burnish_slots"
FEWEST_TOKENS = 64  # that a slot is made for


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of one row in a pass that are not its next one alone.

    Attributes:
        start, stop: which tokens of the pass.
        slot: of its row.
        before: tokens that the slot holds already.
    """

    start: int
    stop: int
    slot: int
    before: int


@dataclass(slots=True)
class SlotCache:
    """Keys and values by layer, (S, G, L, d).

    Attributes:
        room: slots times tokens that it may grow to for what is not in use any more.
        slots, length: that every layer has at least, whatever failed.
    """

    device: torch.device
    room: int
    slots: int = 0
    length: int = 0
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    def reserve(self, slots: int, length: int) -> None:
        """Makes room for the rows of now; what these slots hold stays.

        Args:
            slots: of all rows.
            length: of the longest of them.
        """
        if slots <= self.slots and length <= self.length:
            return
        self._resize(*self._size_for(slots, length))

    def _size_for(self, slots: int, length: int) -> tuple[int, int]:
        """The most of both that there ever was, or where that is too much what the rows of now need."""
        most = max(slots, self.slots), _power_of_two(max(length, self.length, FEWEST_TOKENS))
        if most[0] * most[1] <= self.room:
            return most
        ample = _power_of_two(max(length, FEWEST_TOKENS))
        if slots * ample <= self.room:
            return slots, ample
        return slots, max(self.room // slots, -(-length // FEWEST_TOKENS) * FEWEST_TOKENS)

    def _resize(self, slots: int, length: int) -> None:
        """Layer by layer, so that no more than one is there twice; one that fails leaves all of them usable."""
        self.slots, self.length = min(slots, self.slots), min(length, self.length)
        for held in (self.keys, self.values):
            for layer, old in held.items():
                held[layer] = _resized(old, slots, length)
        self.slots, self.length = slots, length

    def clear(self) -> None:
        """Forgets everything."""
        self.slots = self.length = 0
        self.keys.clear()
        self.values.clear()

    def layer(self, index: int, key: Tensor, value: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer; made at first use, in the numbers that the attention multiplies."""
        if index not in self.values:  # which come second: one that failed is made again
            for states, like in ((self.keys, key), (self.values, value)):
                shape = (self.slots, like.shape[1], self.length, like.shape[2])
                states[index] = torch.zeros(shape, dtype=dtype, device=like.device)
        return self.keys[index], self.values[index]

    def move(self, source: int, target: int, tokens: int) -> None:
        """What one slot holds, into another."""
        for states in (self.keys, self.values):
            for held in states.values():
                held[target, :, :tokens] = held[source, :, :tokens]

    def swap(self, one: int, other: int, tokens: int) -> None:
        """What two slots hold, each into the other's."""
        for states in (self.keys, self.values):
            for held in states.values():
                kept = held[one, :, :tokens].clone()
                held[one, :, :tokens] = held[other, :, :tokens]
                held[other, :, :tokens] = kept

    def wipe(self, slot: int) -> None:
        """Zeroes a slot."""
        for states in (self.keys, self.values):
            for held in states.values():
                held[slot] = 0

    def copied(self, slot: int, tokens: int) -> list[tuple[Tensor, Tensor]]:
        """The first tokens of a slot, by layer."""
        return [
            (self.keys[layer][slot, :, :tokens].clone(), self.values[layer][slot, :, :tokens].clone())
            for layer in sorted(self.keys)
        ]

    def put(self, slot: int, held: Sequence[tuple[Tensor, Tensor]], tokens: int) -> None:
        """Puts the first tokens of what `copied` gave into a slot."""
        for layer, (key, value) in zip(sorted(self.keys), held, strict=True):
            self.keys[layer][slot, :, :tokens] = key[:, :tokens]
            self.values[layer][slot, :, :tokens] = value[:, :tokens]

    @property
    def size_bytes(self) -> int:
        return sum(held.nbytes for states in (self.keys, self.values) for held in list(states.values()))


@dataclass(slots=True)
class Pass:
    """What is computed now.

    Attributes:
        lengths: tokens of each row that writes, with the new one; its slot is its place here.
        pieces: of rows that are read.
    """

    cache: SlotCache
    lengths: Sequence[int]
    pieces: Sequence[Piece]
    token_slots: Tensor = field(init=False)
    token_places: Tensor = field(init=False)
    _row_lengths: Tensor = field(init=False)
    _masks: dict[int | None, Tensor | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slots = [*range(len(self.lengths))]
        places = [length - 1 for length in self.lengths]
        for piece in self.pieces:
            count = piece.stop - piece.start
            slots += [piece.slot] * count
            places += range(piece.before, piece.before + count)
        self.token_slots = torch.tensor(slots, device=self.cache.device)
        self.token_places = torch.tensor(places, device=self.cache.device)
        self._row_lengths = torch.tensor(list(self.lengths), device=self.cache.device)

    def mask_of_rows(self, window: int | None) -> Tensor | None:
        """(B, 1, 1, L) True where a row that writes looks; None where all of them see everything."""
        if window not in self._masks:
            longest = max(self.lengths)
            within = window is None or longest <= window
            mask = None
            if not within or min(self.lengths) < longest:
                place_L = torch.arange(longest, device=self.cache.device)
                mask = place_L < self._row_lengths[:, None]
                if window is not None:
                    mask &= place_L >= self._row_lengths[:, None] - window
                mask = mask[:, None, None]
            self._masks[window] = mask
        return self._masks[window]


_pass: ContextVar[Pass | None] = ContextVar("pass", default=None)


@contextlib.contextmanager
def during(computed: Pass) -> Iterator[None]:
    """In the block, models that attend by slots attend over those of this pass."""
    token = _pass.set(computed)
    try:
        yield
    finally:
        _pass.reset(token)


def slot_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of each token over what its slot holds; signature of transformers' attention interface.

    Args:
        query: (1, H, T, d).
        key, value: (1, G, T, d), H a multiple of G.

    Returns:
        (1, T, H, d) and no attention weights.

    Raises:
        TypeError: the model attends in a way that this does not compute.
    """
    computed = _pass.get()
    if computed is None:
        raise RuntimeError("attention over slots outside of a pass")
    if softcap is not None or s_aux is not None or not getattr(module, "is_causal", True):
        raise TypeError("attention that is capped, has sinks or looks ahead")
    dtype = torch.get_autocast_dtype(key.device.type) if _lowered(key.device) else key.dtype
    query_THd, key_TGd, value_TGd = (states[0].transpose(0, 1) for states in (query, key, value))
    found = attend(
        computed, module.layer_idx, query_THd, key_TGd, value_TGd, scale=scaling, window=sliding_window, dtype=dtype
    )
    return found.unsqueeze(0), None


def attend(
    computed: Pass,
    layer: int,
    query_THd: Tensor,
    key_TGd: Tensor,
    value_TGd: Tensor,
    *,
    scale: float | None,
    window: int | None,
    dtype: torch.dtype,
) -> Tensor:
    """(T, H, d) what each token takes from its slot, which gets the new keys and values first.

    Args:
        window: tokens that are looked back on; None: all.
        dtype: that keys and values are kept and multiplied in.
    """
    keys_SGLd, values_SGLd = computed.cache.layer(layer, key_TGd, value_TGd, dtype)
    keys_SGLd[computed.token_slots, :, computed.token_places] = key_TGd.to(dtype)
    values_SGLd[computed.token_slots, :, computed.token_places] = value_TGd.to(dtype)
    query_THd = query_THd.to(dtype)
    parts = []
    if computed.lengths:
        rows, longest = len(computed.lengths), max(computed.lengths)
        heads, width = query_THd.shape[1:]
        groups = key_TGd.shape[1]
        grouped = query_THd[:rows].reshape(rows, groups, heads // groups, width)  # a group shares its keys
        found = F.scaled_dot_product_attention(
            grouped,
            keys_SGLd[:rows, :, :longest],
            values_SGLd[:rows, :, :longest],
            attn_mask=computed.mask_of_rows(window),
            scale=scale,
        )
        parts.append(found.reshape(rows, heads, -1))
    for piece in computed.pieces:
        length = piece.before + piece.stop - piece.start
        mask = _mask_of_piece(piece, length, window, query_THd.device)
        found = F.scaled_dot_product_attention(
            query_THd[piece.start : piece.stop].transpose(0, 1).unsqueeze(0),
            keys_SGLd[piece.slot : piece.slot + 1, :, :length],
            values_SGLd[piece.slot : piece.slot + 1, :, :length],
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=query_THd.shape[1] != key_TGd.shape[1],
        )
        parts.append(found[0].transpose(0, 1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _mask_of_piece(piece: Piece, length: int, window: int | None, device: torch.device) -> Tensor | None:
    """(new tokens, L) True where a token looks; None where each sees all new ones before it and nothing else."""
    within = window is None or length <= window
    if within and piece.before == 0:
        return None
    distance = torch.arange(piece.before, length, device=device)[:, None] - torch.arange(length, device=device)
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)


def register() -> None:
    """Makes the attention known to transformers; the mask it would build is not needed."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, slot_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


def _lowered(device: torch.device) -> bool:
    return torch.is_autocast_enabled(device.type)


def _resized(old: Tensor, slots: int, length: int) -> Tensor:
    if (old.shape[0], old.shape[2]) == (slots, length):
        return old
    new = old.new_zeros((slots, old.shape[1], length, old.shape[3]))
    kept_slots, kept_length = min(slots, old.shape[0]), min(length, old.shape[2])
    new[:kept_slots, :, :kept_length] = old[:kept_slots, :, :kept_length]
    return new


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
