"""A learned prompt in front of rows: every segment begins with it, and the row's own tokens stand behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from burnish.types import Encoded

Ids = NDArray[np.int64]


def behind_prompt(rows: Sequence[Encoded], prompt: Sequence[int]) -> tuple[list[Encoded], Ids]:
    """The rows with a prompt before each of their segments.

    A segment that begins with a prefix of the row's first one has the prompt as a part of that prefix.

    Returns:
        The longer rows, without read positions, and (T,) where each token of `rows` stands in them, one row after
        the other.
    """
    longer, places, start = [], [], 0
    for row in rows:
        prompts = [0 if i and row.shared_prefix else len(prompt) for i in range(len(row.segment_lengths))]
        before = np.repeat(np.cumsum(prompts), row.segment_lengths)  # tokens of prompts before each token of the row
        places.append(np.arange(row.length) + before + start)
        ids = np.empty(row.length + sum(prompts), np.int64)
        ids[np.setdiff1d(np.arange(len(ids)), places[-1] - start)] = list(prompt) * (sum(prompts) // len(prompt))
        ids[places[-1] - start] = row.token_ids
        longer.append(
            replace(
                row,
                token_ids=ids,
                segment_lengths=tuple(n + more for n, more in zip(row.segment_lengths, prompts, strict=True)),
                shared_prefix=row.shared_prefix + len(prompt) if row.shared_prefix else 0,
                read_positions=None,
            )
        )
        start += len(ids)
    return longer, np.concatenate(places)
