"""The rows that a model is tried out on before it is trusted: a few short ones, as far as short ones can tell.

What these trials look for, rows that see each other or depend on their order or their padding, shows on ten tokens as
on a thousand, and costs a hundredth. Only a model whose settings name a length at which it computes differently, such
as a window of attention, is tried out on longer rows than that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
    if lengths[0] == lengths[-1] or lengths[-1] > min(lengths_of_change(config), default=lengths[-1]):
        return [by_length[i] for i in _spread(len(lengths), count)]
    longer = next(place for place, length in enumerate(lengths) if length > lengths[0])
    places = range(longer + 1, len(lengths) + 1)
    few = bisect_right(places, PROBE_TOKENS, key=lambda kept: sum(lengths[i] for i in _spread(kept, count)))
    return [by_length[i] for i in (_spread(longer + few, count) if few else (0, longer))]


def is_long(rows: Sequence[Encoded], config: Any) -> bool:
    """Whether some row is longer than a length at which the model may begin to compute differently."""
    return bool(rows) and max(row.length for row in rows[:FIRST]) > min(lengths_of_change(config), default=10**9)


def lengths_of_change(config: Any) -> Iterator[int]:
    """The lengths at which a model may begin to compute differently, as its settings name them."""
    settings = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
    for name, value in settings.items():
        if isinstance(value, Mapping) or hasattr(value, "to_dict"):  # settings of a part
            yield from lengths_of_change(value)
        elif any(part in str(name) for part in LENGTHS) and "layer" not in str(name):
            values = value if isinstance(value, list | tuple) else [value]
            yield from (each for each in values if isinstance(each, int) and not isinstance(each, bool) and each > 0)


def _spread(places: int, count: int) -> list[int]:
    """Up to `count` of so many places, evenly, the first and the last among them."""
    return sorted({round(i * (places - 1) / max(1, count - 1)) for i in range(count)})
