"""Token classification: a tag for each token of a sentence, such as the names of people and places in it.

A token may be several sub-words for the base; it is tagged at the first of them, as in BERT (Devlin et al. 2019,
arXiv:1810.04805, section 5.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from burnish.data.tags import is_scheme, spans
from burnish.errors import nearest
from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from burnish.model.pooled import PooledClassifier

UNREAD = -100  # target of a token that the base does not see: cut off, or nothing to the tokenizer
UNKNOWN = -1  # target of a token without a tag, when only predicting
OUTSIDE = "O"
WORDS = re.compile(r"\w+|[^\w\s]")  # tokens of a text that comes in one piece


class TokenClassification:
    """A tag for each token, from its first sub-word's hidden state through a linear head.

    Args:
        tokenizer: the base's own, without padding or truncation.
        labels: the tags, in the order of the logits.
        max_length: sub-words of a sentence that are read, special ones included; tokens behind them get no tag.
        label_smoothing: probability spread over the other tags, 0..1.
    """

    name: ClassVar[str] = "token-classification"
    columns: ClassVar[Mapping[str, type]] = {"tokens": list, "tags": list}
    metrics: ClassVar[tuple[str, ...]] = ("entity-f1", "entity-precision", "entity-recall", "token-accuracy")
    methods: ClassVar[tuple[str, ...]] = ("prompt-tuning", "ia3", "adapter", "lora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("token-classification",)
    learns_from: ClassVar[str] = "tokens with a tag for each"
    row_example: ClassVar[str] = 'sentence: {"tokens": ["Ann", "left"], "tags": ["B-person", "O"]}, or CoNLL lines'
    decomposable: ClassVar[bool] = True

    def __init__(
        self, tokenizer: Tokenizer, labels: Sequence[str], *, max_length: int, label_smoothing: float = 0.0
    ) -> None:
        self.tokenizer = tokenizer
        self.labels = tuple(labels)
        self.max_length = max_length
        self.label_smoothing = label_smoothing
        self._tag_of = {label: index for index, label in enumerate(self.labels)}
        self._outside = OUTSIDE if OUTSIDE in self._tag_of else self.labels[0]
        tokenizer.enable_truncation(max_length)
        if hasattr(tokenizer.pre_tokenizer, "add_prefix_space"):  # byte-level: a word in a sentence follows a space
            tokenizer.pre_tokenizer.add_prefix_space = True

    def describe(self) -> dict[str, Any]:
        """What a package keeps of the task."""
        return {"labels": list(self.labels), "max_length": self.max_length}

    @classmethod
    def rebuilt(cls, tokenizer: Tokenizer, description: Mapping[str, Any]) -> Self:
        """The task of a package."""
        return cls(tokenizer, description["labels"], max_length=int(description["max_length"]))

    def build(self, encoder: nn.Module, *, width: int, pooling: str, normalize: bool) -> PooledClassifier:
        """The base under a new head that reads single tokens; how the base pools a text does not matter."""
        from burnish.model.pooled import READ, LinearHead, PooledClassifier

        return PooledClassifier(encoder, LinearHead(width, len(self.labels), scale=1.0), pooling=READ, normalize=False)

    def encode(self, row: Row) -> Encoded | Refusal:
        """Sub-words of the sentence, read at the first one of each token; tags may be absent when only predicting."""
        import numpy as np

        from burnish.task.texts import cut

        tokens = row["tokens"]
        tags = row.get("tags")
        strange = next((tag for tag in tags or () if tag not in self._tag_of), None)
        if strange is not None:
            close = nearest(strange, self.labels)
            advice = f', did you mean "{close}"?' if close else ""
            return Refusal("data/unknown-label", f'"{strange}" is no tag of this model{advice}')
        encoding = self.tokenizer.encode(tokens, is_pretokenized=True)
        first: dict[int, int] = {}
        for place, word in enumerate(encoding.word_ids):
            if word is not None:
                first.setdefault(word, place)
        if not first:
            return Refusal("task/no-tokens", "the tokenizer gives no tokens for this sentence")
        known = [UNKNOWN] * len(tokens) if tags is None else [self._tag_of[tag] for tag in tags]
        return Encoded(
            token_ids=np.array(encoding.ids, dtype=np.int64),
            segment_lengths=(len(encoding.ids),),
            read_positions=np.array([first.get(word, 0) for word in range(len(tokens))], dtype=np.int64),
            targets=np.array([tag if word in first else UNREAD for word, tag in enumerate(known)], dtype=np.int64),
            weight=float(len(first)),
            truncated_tokens=cut(encoding),
        )

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """Cross-entropy summed over the tokens that are read, in nats; weight = their number."""
        from torch.nn import functional as F

        logits_RC = model(batch)
        smoothing = self.label_smoothing if model.training else 0.0
        total = F.cross_entropy(
            logits_RC, batch.targets, ignore_index=UNREAD, label_smoothing=smoothing, reduction="sum"
        )
        return LossTerm(total, float((batch.targets != UNREAD).sum()))

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"tags", "probabilities"} for each row, one per token; a token that is not read is outside, surely."""
        import torch

        probabilities_RC = torch.softmax(model(batch), dim=-1)
        best_R, tags_R = probabilities_RC.max(dim=-1)
        read_R = batch.targets != UNREAD
        rows: list[Row] = []
        start = 0
        for count in batch.read_counts:
            own = slice(start, start + count)
            start += count
            tokens = list(zip(tags_R[own].tolist(), best_R[own].tolist(), read_R[own].tolist(), strict=True))
            tags = [self.labels[tag] if read else self._outside for tag, _, read in tokens]
            rows.append({"tags": tags, "probabilities": [sure if read else 1.0 for _, sure, read in tokens]})
        return rows

    def reference(self, row: Row) -> tuple[str, ...]:
        """What metrics compare an answer with."""
        return tuple(row["tags"])

    def answer(self, prediction: Row) -> tuple[str, ...]:
        """What metrics compare of a prediction."""
        return tuple(prediction["tags"])

    def asked(self, given: Row | str) -> Row:
        """A row to predict for: its tokens, or those of a text."""
        return {"tokens": WORDS.findall(given)} if isinstance(given, str) else {"tokens": given.get("tokens")}

    def shown(self, row: Row, prediction: Row) -> Row:
        """The prediction with the tokens, and the spans that the tags mark.

        >>> # {"tokens", "tags", "probabilities", "spans": [{"kind", "text", "begin", "end", "probability"}]}
        """
        tokens, sure = row["tokens"], prediction["probabilities"]
        marked = spans(prediction["tags"]) if is_scheme(self.labels) else []
        found = [
            {
                "kind": kind,
                "text": " ".join(tokens[begin:end]),
                "begin": begin,
                "end": end,
                "probability": sum(sure[begin:end]) / (end - begin),
            }
            for kind, begin, end in marked
        ]
        return {"tokens": list(tokens), **prediction, "spans": found}
