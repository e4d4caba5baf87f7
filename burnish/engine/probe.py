"""The rows that a model is tried out on before it is trusted: a few short ones, as far as short ones can tell.

What these trials look for, rows that see each other or depend on their order or their padding, shows on ten tokens as
on a thousand, and costs a hundredth. Only a model whose settings name a length at which it computes differently, such
as a window of attention, is tried out on longer rows than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from burnish.types import Encoded

PROBE_TOKENS = 64  # of all rows together, where as many differ
FIRST = 256  # rows that are chosen from
LENGTHS = ("window", "chunk", "block", "local", "original_max")  # parts of the names of settings that are such lengths


def probe_rows(rows: Sequence[Encoded], count: int, config: Any = None) -> list[Encoded]:
    """Up to `count` of the first rows, spread over their lengths, the shortest first.

    The longest among them where the model needs it or all are short; at least two of different length where there are.

    Args:
        config: settings of the model.
    """
    by_length = sorted(rows[:FIRST], key=lambda row: row.length)
    lengths = [row.length for row in by_length]
    kept = len(lengths)
    if lengths[-1] <= min(lengths_of_change(config), default=lengths[-1]) and lengths[0] < lengths[-1]:
        longer = next(place for place, length in enumerate(lengths) if length > lengths[0])
        while kept > longer + 1 and sum(lengths[i] for i in _spread(kept, count)) > PROBE_TOKENS:
            kept -= 1
        if sum(lengths[i] for i in _spread(kept, count)) > PROBE_TOKENS:  # two tell what more of that length would
            return [by_length[0], by_length[longer]]
    return [by_length[i] for i in _spread(kept, count)]


def lengths_of_change(config: Any) -> Iterator[int]:
    """The lengths at which a model may begin to compute differently, as its settings name them."""
    settings = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from lengths_of_change(value)
        elif any(part in str(name) for part in LENGTHS) and "layer" not in str(name):
            values = value if isinstance(value, list | tuple) else [value]
            yield from (each for each in values if isinstance(each, int) and not isinstance(each, bool) and each > 0)


def _spread(places: int, count: int) -> list[int]:
    """Up to `count` of so many places, evenly, the first and the last among them."""
    return sorted(set(np.linspace(0, places - 1, count).round().astype(int).tolist()))
