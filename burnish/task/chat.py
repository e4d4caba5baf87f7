"""Chat: what the assistant says in conversations, and, for plain texts, how they go on.

Torch is imported where it is used: what a task's columns are is asked without training anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from burnish.model.template import RefusedConversationError
from burnish.task.mask import Masker, Segment, UnmaskableError
from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from torch import nn

LongRows = Literal["drop", "split", "drop-first-turns", "drop-last-turns"]


class Chat:
    """Rows of `messages` (and `tools`), or of `text`; every turn of the assistant is learned unless its weight is 0.

    Args:
        masker: template and tokenizer of the base.
        max_length: tokens of a conversation that the model reads.
        long_rows: what becomes of longer ones. No turn is ever cut.
    """

    name: ClassVar[str] = "chat"
    columns: ClassVar[Mapping[str, type]] = {"messages": list}
    metrics: ClassVar[tuple[str, ...]] = ("loss",)
    methods: ClassVar[tuple[str, ...]] = ("prompt-tuning", "ia3", "adapter", "lora", "qlora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("chat", "language-modelling")
    learns_from: ClassVar[str] = "messages, prompt and completion, or texts"
    row_example: ClassVar[str] = 'conversation: {"messages": [{"role": "user", "content": ...}, ...]}'
    decomposable: ClassVar[bool] = True

    def __init__(self, masker: Masker, *, max_length: int, long_rows: LongRows = "drop") -> None:
        self.masker = masker
        self.max_length = max_length
        self.long_rows = long_rows

    def encode(self, row: Row) -> Encoded | Refusal:
        """Tokens of the row with the places before each learned token, and these tokens as targets."""
        try:
            segments = self._text(row["text"]) if "text" in row else self._conversation(row)
        except (UnmaskableError, RefusedConversationError) as error:
            return Refusal(getattr(error, "code", "chat/refused"), f"the template refuses it: {error}")
        if isinstance(segments, Refusal):
            return segments
        start, reads, targets = 0, [], []
        for segment in segments:
            learned = np.flatnonzero(segment.learned)
            learned = learned[learned > 0]  # nothing stands before the first token
            reads.append(start + learned - 1)
            targets.append(segment.token_ids[learned])
            start += segment.length
        positions = np.concatenate(reads)
        if not len(positions):
            return Refusal("chat/nothing-learned", "no token of it is learned")
        return Encoded(
            token_ids=np.concatenate([segment.token_ids for segment in segments]),
            segment_lengths=tuple(segment.length for segment in segments),
            targets=np.concatenate(targets).astype(np.int64),
            read_positions=positions.astype(np.int64),
            weight=float(len(positions)),
        )

    def segments(self, row: Row) -> list[Segment]:
        """The row as it will be learned, for people to look at.

        Raises:
            UnmaskableError, RefusedConversationError: as in `encode`.
        """
        found = self._text(row["text"]) if "text" in row else self._conversation(row)
        if isinstance(found, Refusal):
            raise UnmaskableError(found.code, found.reason)
        return found

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """Cross-entropy summed over the learned tokens, in nats; weight = R tokens."""
        from burnish.task.token_loss import loss_of_read_tokens

        return loss_of_read_tokens(model, batch)

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"loss" in nats per learned token, "tokens", "accuracy": share of tokens that are the likeliest} per row."""
        from burnish.task.token_loss import scores_of_rows

        return scores_of_rows(model, batch)

    def _text(self, text: str) -> list[Segment] | Refusal:
        """A plain text in pieces that the model can read, with the tokens that begin and end a text."""
        tokenizer, tokens = self.masker.tokenizer, self.masker.template.tokens
        begin, end = (tokenizer.token_to_id(tokens.get(name, "")) for name in ("bos_token", "eos_token"))
        ids = [i for i in (begin, *tokenizer.encode(text, add_special_tokens=False).ids, end) if i is not None]
        pieces = [np.array(ids[i : i + self.max_length], np.int64) for i in range(0, len(ids), self.max_length)]
        return [Segment(piece, np.ones(len(piece), bool)) for piece in pieces if len(piece) > 1]

    def _conversation(self, row: Row) -> list[Segment] | Refusal:
        messages, tools = row["messages"], row.get("tools")
        segments = self.masker.segments(messages, tools)
        longest = max(segment.length for segment in segments)
        if longest <= self.max_length:
            return segments
        parts = self._shortened(messages, tools)
        if not parts:
            return Refusal("chat/too-long", f"{longest:,} tokens; {self.max_length:,} are read")
        return parts

    def _shortened(self, messages: Sequence[Mapping[str, Any]], tools: Any) -> list[Segment]:
        """Segments of whole exchanges that fit, as `long_rows` asks for; none when nothing fits."""
        first = next((i for i, message in enumerate(messages) if message["role"] != "system"), 0)
        system = list(messages[:first])
        starts = [i for i in range(first, len(messages)) if messages[i]["role"] == "user"] or [first]
        exchanges = [list(messages[a:b]) for a, b in zip(starts, [*starts[1:], len(messages)], strict=True)]
        if self.long_rows == "drop-first-turns":
            found = (self._fitting([*system, *_joined(exchanges[k:])], tools) for k in range(1, len(exchanges)))
            return next((segments for segments in found if segments), [])
        if self.long_rows == "drop-last-turns":
            found = (self._fitting([*system, *_joined(exchanges[:k])], tools) for k in range(len(exchanges) - 1, 0, -1))
            return next((segments for segments in found if segments), [])
        if self.long_rows == "split":
            return self._split(system, exchanges, tools)
        return []

    def _split(self, system: list[Any], exchanges: list[list[Any]], tools: Any) -> list[Segment]:
        """As many exchanges together as fit, each group behind the system's words; what fits nowhere is left out."""
        parts: list[Segment] = []
        group: list[list[Any]] = []
        fitting: list[Segment] = []
        for exchange in exchanges:
            longer = self._fitting([*system, *_joined([*group, exchange])], tools)
            if longer:
                group, fitting = [*group, exchange], longer
                continue
            parts += fitting
            fitting = self._fitting([*system, *exchange], tools)
            group = [exchange] if fitting else []
        return parts + fitting

    def _fitting(self, messages: Sequence[Mapping[str, Any]], tools: Any) -> list[Segment]:
        """The segments of a shorter conversation; none when it is too long or has nothing to learn."""
        try:
            segments = self.masker.segments(messages, tools)
        except UnmaskableError:
            return []
        return segments if max(segment.length for segment in segments) <= self.max_length else []


def _joined(exchanges: Sequence[Sequence[Any]]) -> list[Any]:
    return [message for exchange in exchanges for message in exchange]
