"""One text, two texts or the words of a sentence as token ids with the base's special tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from burnish.types import Encoded, Refusal

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Array = np.ndarray[Any, Any]


def encoded_text(tokenizer: Tokenizer, first: str, second: str | None = None, *, targets: Array) -> Encoded | Refusal:
    """A text, or two that are read together, as one segment; the tokenizer cuts what is too long.

    Args:
        tokenizer: with truncation on; of a pair it cuts the longer text first.
        targets: what the loss compares with.
    """
    encoding = tokenizer.encode(first, second)
    if not encoding.ids:
        return Refusal("task/no-tokens", "the tokenizer gives no tokens for this text")
    return Encoded(
        token_ids=np.array(encoding.ids, dtype=np.int64),
        segment_lengths=(len(encoding.ids),),
        targets=targets,
        truncated_tokens=cut(encoding),
        token_types=np.array(encoding.type_ids, dtype=np.int64) if any(encoding.type_ids) else None,
    )


def cut(encoding: Encoding) -> int:
    """Tokens of the text that did not fit."""
    return sum(len(part.ids) - sum(part.special_tokens_mask) for part in encoding.overflowing)
