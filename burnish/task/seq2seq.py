"""Seq2seq: one text written for another, by an encoder with a decoder. Translation, summaries, data into text.

Torch is imported where it is used: what a task's columns are is asked without training anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from burnish.model.marks import Marks
from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

TOO_LONG = "seq2seq/too-long"


class Seq2Seq:
    """Rows of `source` and `target`; every token of the target is learned, and the one that ends it.

    Args:
        tokenizer: of the base, without truncation.
        marks: tokens that the base begins and ends a text with.
        max_length: tokens of a source that the model reads.
        max_target_length: tokens of a target that it writes, the end included. Nothing is ever cut.
    """

    name: ClassVar[str] = "seq2seq"
    columns: ClassVar[Mapping[str, type]] = {"source": str, "target": str}
    metrics: ClassVar[tuple[str, ...]] = ("corpus-chrf", "bleu", "rouge-l")
    methods: ClassVar[tuple[str, ...]] = ("lora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("seq2seq",)
    learns_from: ClassVar[str] = "sources with a target each"
    row_example: ClassVar[str] = 'pair: {"source": ..., "target": ...}'
    decomposable: ClassVar[bool] = True

    def __init__(self, tokenizer: Tokenizer, marks: Marks, *, max_length: int, max_target_length: int) -> None:
        self.tokenizer = tokenizer
        self.marks = marks
        self.max_length = max_length
        self.max_target_length = max_target_length

    def encode(self, row: Row) -> Encoded | Refusal:
        """The source for the encoder; for the decoder the target moved right by its start token, and as targets."""
        source = self.source_ids(row["source"])
        if isinstance(source, Refusal):
            return source
        target = self.target_ids(row["target"])
        if not row["target"].strip():
            return Refusal("seq2seq/no-target", "the target is empty: there is nothing to learn")
        if len(target) > self.max_target_length:
            reason = f"the target has {len(target):,} tokens; {self.max_target_length:,} are written"
            return Refusal(TOO_LONG, reason)
        given = [self.marks.start, *target[:-1]]
        return Encoded(
            token_ids=np.array([*source, *given], np.int64),
            segment_lengths=(len(source), len(given)),
            targets=np.array(target, np.int64),
            read_positions=np.arange(len(source), len(source) + len(given), dtype=np.int64),
            weight=float(len(target)),
        )

    def source_ids(self, source: str) -> list[int] | Refusal:
        """What the encoder reads, with the marks its tokenizer puts around a text."""
        ids: list[int] = self.tokenizer.encode(source).ids
        if not source.strip() or not ids:
            return Refusal("seq2seq/no-source", "the source has no tokens")
        if len(ids) > self.max_length:
            return Refusal(TOO_LONG, f"the source has {len(ids):,} tokens; {self.max_length:,} are read")
        return ids

    def target_ids(self, target: str) -> list[int]:
        """What the decoder has to say, ending with its end."""
        ids: list[int] = self.tokenizer.encode(target).ids
        return ids if ids and ids[-1] == self.marks.end else [*ids, self.marks.end]

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """Cross-entropy summed over the tokens of the targets, in nats; weight = R tokens."""
        from burnish.task.token_loss import loss_of_read_tokens

        return loss_of_read_tokens(model, batch)

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"loss" in nats per token, "tokens", "accuracy": share of tokens that are the likeliest} per row."""
        from burnish.task.token_loss import scores_of_rows

        return scores_of_rows(model, batch)
