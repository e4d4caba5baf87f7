"""Extractive question answering: the span of a context that answers a question, or that there is none.

A long context is read in overlapping windows. Their tokens compete in one softmax, so that a window without the answer
learns to stay behind the one with it (shared normalisation, Clark and Gardner 2018, arXiv:1710.10723).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from torch import Tensor, nn

    from burnish.model.pooled import PooledClassifier

LONGEST = 30  # tokens of an answer
SHARED = 0.25  # of max_length that neighbouring windows have in common
STARTS, ENDS = 1, 2  # bits of a target's first number


class QuestionAnswering:
    """Where an answer begins and ends in its context, from the tokens' hidden states through a linear head.

    Args:
        tokenizer: the base's own, without padding or truncation.
        max_length: tokens of a window: the question, a part of the context and special tokens.
    """

    name: ClassVar[str] = "question-answering"
    columns: ClassVar[Mapping[str, type]] = {"question": str, "context": str, "answers": list}
    metrics: ClassVar[tuple[str, ...]] = ("answer-f1", "answer-exact")
    methods: ClassVar[tuple[str, ...]] = ("lora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("question-answering",)
    learns_from: ClassVar[str] = "questions with a context that holds the answer"
    row_example: ClassVar[str] = 'question: {"question": ..., "context": ..., "answer": "words of the context"}'
    decomposable: ClassVar[bool] = True

    def __init__(self, tokenizer: Tokenizer, *, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        tokenizer.enable_truncation(max_length, stride=int(SHARED * max_length), strategy="only_second")
        self._room = max_length - int(SHARED * max_length) - tokenizer.num_special_tokens_to_add(True) - 1

    def describe(self) -> dict[str, Any]:
        """What a package keeps of the task."""
        return {"max_length": self.max_length}

    @classmethod
    def rebuilt(cls, tokenizer: Tokenizer, description: Mapping[str, Any]) -> Self:
        """The task of a package."""
        return cls(tokenizer, max_length=int(description["max_length"]))

    def build(self, encoder: nn.Module, *, width: int, pooling: str, normalize: bool) -> PooledClassifier:
        """The base under a new head with two logits for each token: an answer starts, or ends, here."""
        from burnish.model.pooled import READ, LinearHead, PooledClassifier

        return PooledClassifier(encoder, LinearHead(width, 2, scale=1.0), pooling=READ, normalize=False)

    def encode(self, row: Row) -> Encoded | Refusal:
        """A segment for each window; read are the first token of all, for no answer, and those of the context.

        Targets are (R, 4): whether an answer starts (1) or ends (2) here, the token's characters in the context (first,
        and one past the last), and the number of its window.
        """
        import numpy as np

        asked = self.tokenizer.encode(row["question"], add_special_tokens=False)
        if len(asked.ids) + sum(len(part.ids) for part in asked.overflowing) > self._room:
            return Refusal(
                "task/long-question", f"the question leaves no room for its context in {self.max_length} tokens"
            )
        whole = self.tokenizer.encode(row["question"], row["context"])
        windows = [whole, *whole.overflowing]
        answers = row.get("answers")
        reads, targets, start = [0], [[_flags(answers, None), 0, 0, -1]], 0
        for number, window in enumerate(windows):
            for place, characters in _context_tokens(window):
                reads.append(start + place)
                targets.append([_flags(answers, characters), *characters, number])
            start += len(window.ids)
        if len(reads) == 1:
            return Refusal("task/no-tokens", "the tokenizer gives no tokens for this context")
        types = np.concatenate([np.array(window.type_ids, dtype=np.int64) for window in windows])
        return Encoded(
            token_ids=np.concatenate([np.array(window.ids, dtype=np.int64) for window in windows]),
            segment_lengths=tuple(len(window.ids) for window in windows),
            read_positions=np.array(reads, dtype=np.int64),
            targets=np.array(targets, dtype=np.int64),
            token_types=types if types.any() else None,
        )

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """Minus log of the probability that all right starts, and all right ends, have together; weight = B rows."""
        import torch

        logits_R2, counts = model(batch), list(batch.read_counts)
        total = logits_R2.new_zeros(())
        rows = zip(torch.split(logits_R2, counts), torch.split(batch.targets[:, 0], counts), strict=True)
        for logits_K2, flags_K in rows:
            for side, bit in enumerate((STARTS, ENDS)):
                own_K = logits_K2[:, side]
                total = total + torch.logsumexp(own_K, 0) - torch.logsumexp(own_K[(flags_K & bit) > 0], 0)
        return LossTerm(total, float(batch.row_count))

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"begin", "end", "probability"} for each row: characters of the context; 0 and 0 where nothing answers."""
        import torch

        counts = list(batch.read_counts)
        both = zip(torch.split(model(batch), counts), torch.split(batch.targets, counts), strict=True)
        return [_best_span(logits_K2, targets_K4) for logits_K2, targets_K4 in both]

    def reference(self, row: Row) -> tuple[str, ...]:
        """The texts that are right, one of which is enough; an empty one where nothing answers."""
        return tuple(sorted({text for text, _ in row["answers"]})) or ("",)

    def answer(self, prediction: Row) -> str:
        """What metrics compare of a prediction."""
        return str(prediction["answer"])

    def asked(self, given: Row | str) -> Row:
        """A row to predict for; a text alone has no context."""
        if isinstance(given, str):
            return {"question": given, "context": None}
        return {name: given.get(name) for name in ("question", "context")}

    def shown(self, row: Row, prediction: Row) -> Row:
        """The prediction with the words of the context: {"answer", "begin", "end", "probability"}."""
        return {"answer": row["context"][prediction["begin"] : prediction["end"]], **prediction}


def _context_tokens(window: Encoding) -> list[tuple[int, tuple[int, int]]]:
    """Place and characters of the tokens of the context."""
    return [
        (place, characters)
        for place, (sequence, characters) in enumerate(zip(window.sequence_ids, window.offsets, strict=True))
        if sequence == 1 and characters[1] > characters[0]
    ]


def _flags(answers: Sequence[tuple[str, int]] | None, characters: tuple[int, int] | None) -> int:
    """Whether an answer starts or ends in these characters; without characters, whether there is none."""
    if answers is None:
        return 0
    if characters is None:
        return 0 if answers else STARTS | ENDS
    begin, end = characters
    starts = any(begin <= start < end for _, start in answers)
    ends = any(begin < start + len(text) <= end for text, start in answers)
    return STARTS * starts | ENDS * ends


def _best_span(logits_K2: Tensor, targets_K4: Tensor) -> Row:
    """The likeliest span of at most LONGEST tokens within one window, or none."""
    import torch

    starts_K, ends_K = torch.log_softmax(logits_K2.double(), 0).unbind(1)
    windows_K = targets_K4[:, 3]
    best, first, last = float(starts_K[0] + ends_K[0]), 0, 0
    for length in range(min(LONGEST, len(windows_K) - 1)):
        ending = slice(1 + length, None)
        beginning = slice(1, len(windows_K) - length)
        scores = starts_K[beginning] + ends_K[ending]
        scores = scores.masked_fill(windows_K[beginning] != windows_K[ending], -torch.inf)
        score, place = scores.max(0)
        if float(score) > best:
            best, first, last = float(score), int(place) + 1, int(place) + 1 + length
    begin, end = (int(targets_K4[first, 1]), int(targets_K4[last, 2])) if first else (0, 0)
    return {"begin": begin, "end": end, "probability": float(torch.tensor(best).exp())}
