"""Training with only those rows of the embedding table that the data reads.

Exact: a row that no token reads gets no gradient, and embeddings get no weight decay, so AdamW would leave it as it is.
It need not be copied, clipped, averaged, updated or saved. For a small encoder the table is half of all weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from burnish.engine.layout import LaidOut, LayoutChoice
from burnish.engine.rows import EncodedRows
from burnish.types import Encoded

WORTH_IT = 0.75  # share of the table above which nothing is gained


@contextlib.contextmanager
def compact_vocabulary(
    encoder: Any, *splits: Sequence[Encoded], layout: LayoutChoice, device: torch.device
) -> Iterator[tuple[list[Sequence[Encoded]], str]]:
    """Inside the block the encoder's table has only the rows that `splits` read; afterwards it is whole again.

    A table that does not learn, that is tied to an output, or a model that looks at token ids elsewhere too (which
    the first row shows) is left as it is; so is a padded layout, in which some models count positions by token ids.

    Yields:
        The splits with token ids of the small table, and one sentence for the run's record.
    """
    table = encoder.get_input_embeddings() if hasattr(encoder, "get_input_embeddings") else None
    output = encoder.get_output_embeddings() if hasattr(encoder, "get_output_embeddings") else None
    learns = isinstance(table, nn.Embedding) and table.weight.requires_grad and table.max_norm is None
    if not isinstance(table, nn.Embedding) or not learns or output is not None or layout.padded:
        yield list(splits), "embedding table: whole"
        return
    whole, padding = table.weight, table.padding_idx
    flat = [EncodedRows.of(rows) for rows in splits]
    used = np.unique(np.concatenate([rows.vocabulary() for rows in flat] + [[padding or 0]]))
    if len(used) > WORTH_IT * len(whole):
        yield list(splits), "embedding table: whole"
        return
    place = np.zeros(len(whole), dtype=np.int64)
    place[used] = np.arange(len(used))
    ids = torch.from_numpy(used).to(whole.device)
    small = [rows.renumbered(place) for rows in flat]

    before = _hidden(encoder, splits[0][0], layout, device)
    table.weight = nn.Parameter(whole.detach()[ids])
    table.num_embeddings = len(used)
    table.padding_idx = None if padding is None else int(place[padding])
    try:
        if torch.equal(before, _hidden(encoder, small[0][0], layout, device)):
            sentence = f"embedding table: the {len(used):,} of {len(whole):,} rows that the data reads"
            yield list(small), sentence
            with torch.no_grad():
                whole[ids] = table.weight
            return
    finally:
        table.weight, table.num_embeddings, table.padding_idx = whole, len(whole), padding
    yield list(splits), "embedding table: whole, the model looks at token ids elsewhere"


def _hidden(encoder: nn.Module, row: Encoded, layout: LayoutChoice, device: torch.device) -> torch.Tensor:
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            batch = LaidOut([row], [0], padded=False, device=device, position_offset=layout.position_offset)
            return batch.hidden(encoder)
    finally:
        encoder.train(training)
