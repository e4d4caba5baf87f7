"""Segments of a batch on grids, as few and as full as pay: what attention computes its products on.

Shapes: T tokens, G segments, S longest segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from burnish.engine.segments import Segments
from burnish.engine.tree import Tree
from burnish.engine.varlen import DEVICES, Lengths

Array = np.ndarray[Any, Any]

GRID = 4_096  # pairs of tokens that take a CPU as long as the calls of one more grid
GRID_BEYOND = 2**22  # the same on other devices, and what a grid's mask may take in vain


def grids_of(sizes: Array, rest: Sequence[int], device: torch.device) -> list[Segments]:
    """Segments of these sizes, one behind the other, and behind them others of the lengths in `rest`."""
    cuts = grid_cuts(sizes) if device.type == "cpu" else []
    return list(_plain(np.concatenate([sizes, np.asarray(rest, sizes.dtype)]), cuts, device))


def grids_of_tree(tree: Tree, rest: int, device: torch.device) -> list[Segments]:
    """The segments of a tree in their order, and one more of `rest` tokens that nobody reads where there are any."""
    roots, on_cpu = tree.roots, device.type == "cpu"
    worth = GRID if on_cpu else GRID_BEYOND
    own, lengths = tree.own[roots:], np.array([len(before) for before in tree.before[roots:]])
    grids = list(_plain(tree.own[:roots], grid_cuts(tree.own[:roots]) if on_cpu else [], device))
    start = int(tree.own[:roots].sum())
    cuts = grid_cuts(own, own + lengths, worth=worth)
    for first, end in pairwise([0, *cuts, len(own)]):
        befores = tree.before[roots + first : roots + end]
        grids.append(_continuing(own[first:end], befores, start, device))
        start += int(own[first:end].sum())
    if rest:
        grids += _plain(np.array([rest]), [], device, start)
    return grids


def grid_cuts(
    queries: Sequence[int] | Array, keys: Sequence[int] | Array | None = None, *, worth: int | None = None
) -> list[int]:
    """Where segments are cut into grids, if they come in the order of their lengths.

    A grid costs each of its segments the most queries times the most keys of any; one more grid costs about GRID.

    Args:
        keys: that each segment's queries look at; None: as many as queries.
        worth: pairs of tokens that a cut has to save; None: GRID.

    >>> grid_cuts([10, 12, 15, 16, 205, 210])
    [4]
    >>> grid_cuts([10, 12, 15, 16], [20, 900, 20, 910])
    [1, 2, 3]
    """
    rows = np.asarray(queries, np.int64)
    columns = rows if keys is None else np.asarray(keys, np.int64)
    if (np.diff(rows) < 0).any():
        return []
    cuts, open_ranges = list[int](), [(0, len(rows))]
    while open_ranges:
        start, end = open_ranges.pop()
        most = np.maximum.accumulate(columns[start:end])
        rest = np.maximum.accumulate(columns[start:end][::-1])[::-1]
        count = np.arange(1, end - start)
        whole = rows[end - 1] * most[-1] if end > start else 0
        apart = count * rows[start : end - 1] * most[:-1] + (end - start - count) * rows[end - 1] * rest[1:]
        saved = (end - start) * whole - apart  # by a cut behind each
        if len(saved) and saved.max() > (GRID if worth is None else worth):
            cut = start + 1 + int(saved.argmax())
            cuts.append(cut)
            open_ranges += [(start, cut), (cut, end)]
    return sorted(cuts)


def _plain(sizes: Array, cuts: Sequence[int], device: torch.device, token: int = 0) -> Iterator[Segments]:
    """Segments that see themselves, from a token of the batch on."""
    for start, end in pairwise([0, *cuts, len(sizes)]):
        own = sizes[start:end]
        places, slots = on_device(_places(own), device), on_device(_slots(own), device)
        tokens = int(own.sum())
        mask, lengths = mask_of(own, device), _by_lengths(own, own, None, device)
        yield Segments(places, slots, len(own), int(own.max()), mask, begin=token, end=token + tokens, lengths=lengths)
        token += tokens


def _continuing(own: Array, befores: Sequence[Array], token: int, device: torch.device) -> Segments:
    """Segments that see what they continue, and themselves behind it."""
    before = np.array([len(each) for each in befores])
    keys, longest, starts = int((before + own).max()), int(own.max()), token + np.cumsum(own) - own
    source = np.zeros((len(own), keys), np.int64)  # behind a segment any token: nobody may see it
    for row, (places, length, start) in enumerate(zip(befores, own, starts, strict=True)):
        source[row, : len(places)] = places
        source[row, len(places) : len(places) + length] = np.arange(start, start + length)
    at_GS = np.minimum(before[:, None] + np.arange(longest), keys - 1)  # padding looks like the last token
    return Segments(
        on_device(_places(own), device),
        on_device(_slots(own), device),
        len(own),
        longest,
        on_device(np.arange(keys) <= at_GS[:, :, None], device)[:, None],
        begin=token,
        end=token + int(own.sum()),
        source=on_device(source.reshape(-1), device),
        at=on_device(at_GS, device),
        lengths=_by_lengths(own, before + own, source[np.arange(keys) < (before + own)[:, None]], device),
    )


def _by_lengths(own: Array, seen: Array, keys: Array | None, device: torch.device) -> Lengths | None:
    """Where segments begin, for kernels that need no grid; None where there are none.

    Args:
        seen: (G,) tokens each segment sees: its own, and those it continues.
        keys: which tokens of the batch these are, one segment after the other; None: its own, as they lie.
    """
    if device.type not in DEVICES:
        return None
    starts, key_starts = (on_device(np.concatenate([[0], np.cumsum(n)]).astype(np.int32), device) for n in (own, seen))
    places = None if keys is None else on_device(keys, device)
    return Lengths(starts, key_starts, int(own.max()), int(seen.max()), places)


def on_device(values: Array, device: torch.device) -> Tensor:
    """An array as a tensor on the device; a GPU fetches it while it works, and nobody waits for that."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _places(sizes: Array) -> Array:
    """(T,) where the tokens of segments stand in a grid of them."""
    longest, starts = int(sizes.max()), np.cumsum(sizes) - sizes
    return np.asarray(np.arange(int(sizes.sum())) + np.repeat(np.arange(len(sizes)) * longest - starts, sizes))


def _slots(sizes: Array) -> Array:
    """(G * S,) which token stands at each place of a grid; behind a segment its last one."""
    starts = np.cumsum(sizes) - sizes
    return np.asarray(starts[:, None] + np.minimum(np.arange(int(sizes.max())), sizes[:, None] - 1)).reshape(-1)


def mask_of(sizes: Array, device: torch.device) -> Tensor | None:
    """(G, 1, 1, S) True where a token is real; None where all are."""
    longest = int(sizes.max())
    if (sizes == longest).all():
        return None
    return on_device(np.arange(longest) < sizes[:, None], device)[:, None, None, :]
