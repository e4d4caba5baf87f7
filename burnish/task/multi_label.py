"""Multi-label classification: any number of labels for each text, none included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from burnish.errors import nearest
from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from burnish.model.pooled import PooledClassifier

UNKNOWN = -1.0  # target of a label that nobody gave, when only predicting
THRESHOLD = 0.5  # probability from which on a text has a label


class MultiLabelClassification:
    """Any number of labels per text: one yes or no for each label, from the pooled vector through a linear head.

    Args:
        tokenizer: the base's own, without padding or truncation.
        labels: in the order of the logits.
        max_length: tokens of a text that are read, special tokens included.
    """

    name: ClassVar[str] = "multi-label-classification"
    columns: ClassVar[Mapping[str, type]] = {"text": str, "labels": list}
    metrics: ClassVar[tuple[str, ...]] = ("micro-f1", "subset-accuracy")
    methods: ClassVar[tuple[str, ...]] = ("prompt-tuning", "ia3", "adapter", "lora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("multi-label-classification",)
    learns_from: ClassVar[str] = "texts with any number of labels"
    row_example: ClassVar[str] = 'text: {"text": ..., "labels": ["refund", "angry"]}'
    decomposable: ClassVar[bool] = True

    def __init__(self, tokenizer: Tokenizer, labels: Sequence[str], *, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.labels = tuple(labels)
        self.max_length = max_length
        self._known = set(self.labels)
        tokenizer.enable_truncation(max_length)

    def describe(self) -> dict[str, Any]:
        """What a package keeps of the task."""
        return {"labels": list(self.labels), "max_length": self.max_length}

    @classmethod
    def rebuilt(cls, tokenizer: Tokenizer, description: Mapping[str, Any]) -> Self:
        """The task of a package."""
        return cls(tokenizer, description["labels"], max_length=int(description["max_length"]))

    def build(self, encoder: nn.Module, *, width: int, pooling: str, normalize: bool) -> PooledClassifier:
        """The base under a new head with one logit per label."""
        from burnish.model.pooled import SCALE, LinearHead, PooledClassifier

        head = LinearHead(width, len(self.labels), scale=SCALE if normalize else 1.0)
        return PooledClassifier(encoder, head, pooling=pooling, normalize=normalize)

    def encode(self, row: Row) -> Encoded | Refusal:
        """Token ids of the text; (C,) targets 1 for its labels, 0 for the others; labels may be absent."""
        import numpy as np

        from burnish.task.texts import encoded_text

        labels = row.get("labels")
        strange = next((label for label in labels or () if label not in self._known), None)
        if strange is not None:
            close = nearest(strange, self.labels)
            advice = f', did you mean "{close}"?' if close else ""
            return Refusal("data/unknown-label", f'"{strange}" is no label of this model{advice}')
        given = [UNKNOWN] * len(self.labels) if labels is None else [float(label in labels) for label in self.labels]
        return encoded_text(self.tokenizer, row["text"], targets=np.array(given, dtype=np.float32))

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """Binary cross-entropy summed over labels and rows, in nats; weight = B rows."""
        from torch.nn import functional as F

        logits_BC = model(batch)
        return LossTerm(
            F.binary_cross_entropy_with_logits(logits_BC, batch.targets, reduction="sum"), float(batch.row_count)
        )

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"labels", "probabilities"} for each row: the labels from THRESHOLD on, and the probability of every one."""
        import torch

        probabilities_BC = torch.sigmoid(model(batch)).tolist()
        rows = [dict(zip(self.labels, own, strict=True)) for own in probabilities_BC]
        return [{"labels": [k for k, p in own.items() if p >= THRESHOLD], "probabilities": own} for own in rows]

    def reference(self, row: Row) -> tuple[str, ...]:
        """What metrics compare an answer with."""
        return tuple(sorted(row["labels"]))

    def answer(self, prediction: Row) -> tuple[str, ...]:
        """What metrics compare of a prediction."""
        return tuple(sorted(prediction["labels"]))

    def asked(self, given: Row | str) -> Row:
        """A row to predict for."""
        return {"text": given if isinstance(given, str) else given.get("text")}

    def shown(self, row: Row, prediction: Row) -> Row:
        """The prediction as it is."""
        return prediction
