"""Dropout whose draws belong to a row, not to a place in memory.

Each row of data gets, for each optimizer step, a start in a fixed pool of masks: a hash of (seed, step, row). Token p
of the row reads pool row start + p, shifted by the number of the dropout site. The draw is therefore the same in any
micro-batch, any layout and after any resume, and costs a gather instead of millions of random numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.engine.last_layer import wanted_only

POOL_ROWS = 8191  # prime, so that shifts of sites do not line up
SITE_SHIFT = 977
FUNCTIONAL = ("dropout", "attention_dropout", "activation_dropout")  # numbers that layers of transformers drop out by

_draw: ContextVar[Tensor | None] = ContextVar("draw", default=None)


@contextlib.contextmanager
def drawn(rows: Tensor | None) -> Iterator[None]:
    """Sets the pool row of every token for the forward pass inside the block.

    Args:
        rows: (1, T) or (G, S); or (B,), of the first token of each row, where the base makes the tokens itself.
    """
    token = _draw.set(rows)
    try:
        yield
    finally:
        _draw.reset(token)


def draw_starts(row_ids: Sequence[int], *, seed: int, step: int) -> np.ndarray[Any, Any]:
    """(B,) int64 start in the pool of each row."""
    return pool_starts(row_draws(row_ids, seed=seed, step=step))


def pool_starts(draws: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(B,) int64 start in the pool for what chance gave each row."""
    return (draws % np.uint64(POOL_ROWS)).astype(np.int64)


def row_draws(row_ids: Sequence[int], *, seed: int, step: int) -> np.ndarray[Any, Any]:
    """(B,) uint64, what chance gives each row in a step: splitmix64 of (seed, step, row).

    Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".
    """
    with np.errstate(over="ignore"):
        mixed = np.asarray(row_ids, dtype=np.uint64)
        for key in (seed, step):
            mixed = _splitmix64(mixed ^ _splitmix64(np.array([key], dtype=np.uint64)))
    return mixed


def _splitmix64(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)))


class RowDropout(nn.Module):
    """Stands where a model had `nn.Dropout`.

    Args:
        probability: share of values set to zero; the others are scaled by 1 / (1 - probability).
        site: number of this place in the model.
        seed: of the pool.
    """

    def __init__(self, probability: float, *, site: int, seed: int) -> None:
        super().__init__()
        self.probability = probability
        self.p = 0.0  # what attention layers read from their dropout: probabilities of attention are not dropped
        self.site = site
        self.seed = seed
        self._pools: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def forward(self, states: Tensor) -> Tensor:
        if not self.training or self.probability == 0.0:
            return states
        rows = _draw.get()
        if rows is not None and rows.ndim == 1 and states.ndim == 3:
            rows = rows[:, None] + torch.arange(states.shape[1], device=rows.device)
        if rows is not None and rows.shape != states.shape[:-1]:
            rows = wanted_only(rows)  # a last layer that computes only what is read
        if rows is None or rows.shape != states.shape[:-1]:
            return F.dropout(states, self.probability)  # not token-wise: drawn from torch's generator, which is saved
        places = (rows.flatten() + self.site * SITE_SHIFT) % POOL_ROWS
        return states * self._pool(states).index_select(0, places).view_as(states)

    def _pool(self, states: Tensor) -> Tensor:
        key = (states.shape[-1], states.dtype, states.device)
        if key not in self._pools:
            self._pools[key] = mask_pool(key[0], self.probability, self.seed).to(states.device, states.dtype)
        return self._pools[key]


@lru_cache(maxsize=8)
def mask_pool(width: int, probability: float, seed: int) -> Tensor:
    """(POOL_ROWS, width) masks with values 0 or 1 / (1 - probability); one pool serves all sites of a width."""
    random = np.random.Generator(np.random.Philox(key=[seed, width]))
    kept = random.random((POOL_ROWS, width), dtype=np.float32) >= probability
    return torch.from_numpy(kept).float().div_(1.0 - probability)


def drops_out(model: nn.Module, *, training: bool = False) -> bool:
    """Whether a pass of the model leaves something to chance, in the mode it is in or in training."""
    places = [part for part in model.modules() if training or part.training]
    kinds = RowDropout, nn.modules.dropout._DropoutNd
    return any(
        (part.probability if isinstance(part, RowDropout) else part.p) for part in places if isinstance(part, kinds)
    )


def replace_dropout(model: nn.Module, *, seed: int, probability: float | None) -> int:
    """Puts `RowDropout` in the place of each `nn.Dropout`; returns how many were replaced.

    Dropout that a family draws through a function instead of a module (probabilities of attention in T5, everything in
    BART) cannot be told its row and is off.

    Args:
        probability: None keeps each place's own.
    """
    site = 0
    for parent in list(model.modules()):
        for name in FUNCTIONAL:
            if isinstance(getattr(parent, name, None), float):
                setattr(parent, name, 0.0)
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                chosen = child.p if probability is None else probability
                setattr(parent, name, RowDropout(chosen, site=site, seed=seed))
                site += 1
    return site
