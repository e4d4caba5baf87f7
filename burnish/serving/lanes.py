"""Where the rows of a decoder are computed: all together without padding, or each alone with the model's own cache.

Together is what every family does whose attention goes through transformers' interface; that it gives the numbers of
the plain model is compared when a model is opened (`opening.py`). What fails the comparison, as recurrent models do, is
computed row by row, which is slower and right.

Shapes: T tokens of a pass, R rows whose next token is asked for, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from burnish.engine.precision import Precision
from burnish.serving.beside import AdapterBank, Updated
from burnish.serving.forward import Forward
from burnish.serving.slots import Pass, Piece, SlotCache

CACHES = ("past_key_values", "cache_params")  # what families call that which they keep of a row

Held = Sequence[tuple[Tensor, Tensor]]  # keys and values of the beginning of a row, by layer


@dataclass(slots=True, eq=False)
class Lane:
    """One row: its tokens, how many of them the cache holds, and where.

    Attributes:
        ids: prompt and answer so far.
        held: tokens whose keys and values are there.
        adapter: beside the base; None: the base alone.
        own: the model's own cache, where each row is computed alone.
    """

    ids: list[int]
    adapter: str | None = None
    held: int = 0
    slot: int = -1
    own: Any = None


class Lanes(Protocol):
    """Rows that are computed.

    Attributes:
        in_pieces: whether a prompt may be read in several passes.
        size_bytes: of what is kept of the rows.
        weight_bytes: of weights that are not the model's own.
    """

    in_pieces: bool
    weight_bytes: int

    @property
    def size_bytes(self) -> int: ...

    def enter(self, lane: Lane, begin: tuple[Held, int] | None) -> None:
        """A new row; `begin` are the keys and values of its first tokens, and how many."""

    def leave(self, lane: Lane, *, wipe: bool = False) -> None:
        """A row that has ended.

        Args:
            wipe: whether what it leaves behind is zeroed: what is no number would reach the next row of its slot.
        """

    def clear(self) -> None:
        """Forgets all rows and what is kept of them. Computes nothing, so it works after whatever failed."""

    def compute(self, counts: Sequence[tuple[Lane, int]]) -> tuple[list[Lane], Tensor | None]:
        """Computes the newest token of each row that writes, and so many more of each row that is still read.

        Returns:
            the rows whose next token can be chosen now, and (R, V) their logits.
        """

    def beginning(self, lane: Lane, tokens: int) -> Held | None:
        """A copy of the keys and values of its first tokens, where they can be used again."""


class Together:
    """All rows in one pass; those that write have the first slots.

    Args:
        forward: computes a pass.
        bank: adapters beside the base.
        room: rows times tokens of the longest that are kept.
    """

    in_pieces = True

    def __init__(self, forward: Forward, bank: AdapterBank, device: torch.device, room: int) -> None:
        self.forward = forward
        self.weight_bytes = forward.size_bytes
        self.bank = bank
        self.cache = SlotCache(device, room)
        self._lanes: list[Lane] = []
        self._writers = 0

    def enter(self, lane: Lane, begin: tuple[Held, int] | None) -> None:
        slot = len(self._lanes)
        self.cache.reserve(slot + 1, max(len(each.ids) for each in (*self._lanes, lane)))
        if begin is not None:
            held, tokens = begin
            self.cache.put(slot, held, tokens)
            lane.held = tokens
        lane.slot = slot
        self._lanes.append(lane)  # last: what fails leaves no row behind

    def leave(self, lane: Lane, *, wipe: bool = False) -> None:
        if wipe:
            self.cache.wipe(lane.slot)
        hole, last = lane.slot, len(self._lanes) - 1
        if hole < self._writers:
            self._writers -= 1
            self._put(self._writers, hole)
            hole = self._writers
        self._put(last, hole)
        self._lanes.pop()
        lane.slot = -1
        if not self._lanes and self.cache.slots * self.cache.length > self.cache.room:
            self.cache.clear()  # one row alone may have more than there is room for

    def clear(self) -> None:
        self._lanes.clear()
        self._writers = 0
        self.cache.clear()

    def compute(self, counts: Sequence[tuple[Lane, int]]) -> tuple[list[Lane], Tensor | None]:
        self.cache.reserve(len(self._lanes), max(len(lane.ids) for lane in self._lanes))
        ready = self._lanes[: self._writers]
        tokens = [lane.ids[-1] for lane in ready]
        places = [lane.held for lane in ready]
        owners = [lane.adapter for lane in ready]
        last, pieces, read = list(range(len(ready))), [], []
        for lane, count in counts:
            start = len(tokens)
            tokens += lane.ids[lane.held : lane.held + count]
            places += range(lane.held, lane.held + count)
            owners += [lane.adapter] * count
            pieces.append(Piece(start, start + count, lane.slot, lane.held))
            if lane.held + count == len(lane.ids):
                read.append(lane)
                last.append(start + count - 1)
        computed = Pass(self.cache, [place + 1 for place in places[: len(ready)]], pieces)
        self.bank.choose(owners)
        logits = self.forward(tokens, places, computed, last)
        for lane in ready:
            lane.held += 1
        for lane, count in counts:
            lane.held += count
        for lane in read:
            self._begin_to_write(lane)
        return [*ready, *read], logits

    def beginning(self, lane: Lane, tokens: int) -> Held | None:
        return self.cache.copied(lane.slot, tokens)

    @property
    def size_bytes(self) -> int:
        return self.cache.size_bytes

    def _begin_to_write(self, lane: Lane) -> None:
        """Gives it the first slot behind the rows that write."""
        other = self._lanes[self._writers]
        if other is not lane:
            self.cache.swap(other.slot, lane.slot, max(lane.held, other.held))
            other.slot, lane.slot = lane.slot, other.slot
            self._lanes[other.slot], self._lanes[lane.slot] = other, lane
        self._writers += 1

    def _put(self, source: int, target: int) -> None:
        if source != target:
            lane = self._lanes[source]
            self.cache.move(source, target, lane.held)
            self._lanes[target] = lane
            lane.slot = target


class Alone:
    """Each row by itself, in the way of the model's own family."""

    in_pieces = False
    weight_bytes = 0

    def __init__(self, causal: Any, precision: Precision) -> None:
        self.causal = causal
        self.precision = precision
        self._device = next(causal.parameters()).device
        arguments = inspect.signature(causal.forward).parameters
        self._cache = next((name for name in CACHES if name in arguments), None)
        self._writing: list[Lane] = []

    def enter(self, lane: Lane, begin: tuple[Held, int] | None) -> None:
        pass

    def leave(self, lane: Lane, *, wipe: bool = False) -> None:
        lane.own = None
        if lane in self._writing:
            self._writing.remove(lane)

    def clear(self) -> None:
        for lane in self._writing:
            lane.own = None
        self._writing.clear()

    def compute(self, counts: Sequence[tuple[Lane, int]]) -> tuple[list[Lane], Tensor | None]:
        ready = list(self._writing)
        found = [self._step(lane, 1) for lane in ready]
        for lane, count in counts:
            logits = self._step(lane, count)
            if lane.held == len(lane.ids):
                self._writing.append(lane)
                ready.append(lane)
                found.append(logits)
        return ready, torch.stack(found) if found else None

    def beginning(self, lane: Lane, tokens: int) -> Held | None:
        return None

    @property
    def size_bytes(self) -> int:
        return 0  # what families keep in ways of their own is small beside their weights

    def _step(self, lane: Lane, count: int) -> Tensor:
        begin = lane.held if self._cache is not None else 0
        ids = torch.tensor([lane.ids[begin : lane.held + count]], device=self._device)
        cache = {self._cache: lane.own, "use_cache": True} if self._cache is not None else {}
        with self.precision.compute(self._device):
            out = self.causal(input_ids=ids, **cache)
        lane.own = getattr(out, self._cache or "", None)
        lane.held += count
        logits_V: Tensor = out.logits[0, -1]
        return logits_V


def bytes_of(module: nn.Module) -> int:
    """Bytes of its weights; those that were let go of have none."""
    return sum(weight.nbytes for weight in (*module.parameters(), *module.buffers()) if not weight.is_meta)


def head_of(causal: Any) -> str | None:
    """Name of the layer that makes words of states."""
    head = causal.get_output_embeddings()
    head = head.base if isinstance(head, Updated) else head
    return next((name.split(".")[-1] for name, part in causal.named_modules() if part is head), None)
