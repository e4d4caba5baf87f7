"""How well a language model foresees what follows a text: rows for probes, without a chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from burnish.types import Encoded

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def encode_continuation(tokenizer: Tokenizer, begin: int | None, prompt: str, continuation: str) -> Encoded:
    """The tokens of both, with the places before each token of the continuation, and these tokens as targets.

    Both are tokenised as one text, since a token may not end where the prompt ends; the continuation begins with the
    first token that holds a character of it.

    Args:
        begin: token that begins a text; None for models without one, where nothing stands before a first token.

    Source: the rule of EleutherAI's lm-evaluation-harness, `TemplateLM._encode_pair`, by characters instead of counts.
    """
    encoding = tokenizer.encode(prompt + continuation, add_special_tokens=False)
    ids = encoding.ids if begin is None else [begin, *encoding.ids]
    shift = len(ids) - len(encoding.ids)
    first = next((i for i, (_, end) in enumerate(encoding.offsets) if end > len(prompt)), len(encoding.ids))
    targets = np.arange(max(1, first + shift), len(ids), dtype=np.int64)
    tokens = np.array(ids, dtype=np.int64)
    return Encoded(
        token_ids=tokens,
        segment_lengths=(len(tokens),),
        targets=tokens[targets],
        read_positions=targets - 1,
        weight=float(len(targets)),
    )
