"""A pass that begins in the middle of a model: states that its lower layers gave, and the layers above them.

Shapes: T tokens, D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Below:
    """What the lower layers gave for the tokens of a batch."""

    states: Tensor  # (T, D)
    layers: int  # that need not be computed


def stack_of(encoder: Any) -> nn.ModuleList | None:
    """The layers of a decoder as most families have them, the lowest first."""
    layers = getattr(encoder, "layers", None)
    return layers if isinstance(layers, nn.ModuleList) else None


@contextlib.contextmanager
def upper_layers(encoder: Any, below: int) -> Iterator[None]:
    """Inside the block the model has the layers above the first `below` ones; states go in as embeddings."""
    whole = encoder.layers
    encoder.layers = whole[below:]
    try:
        yield
    finally:
        encoder.layers = whole
