"""Text classification: one label out of two or more for each text.

Torch is imported where it is used: what a task's columns are is asked without training anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from burnish.errors import nearest
from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from burnish.model.pooled import PooledClassifier

Loss = Callable[["Tensor", "Tensor"], "Tensor"]  # (B, C) logits, (B,) class ids -> (B,) losses, nats


class TextClassification:
    """One label per text, from the base's pooled vector through a linear head.

    Args:
        tokenizer: the base's own, without padding or truncation.
        labels: in the order of the logits.
        max_length: tokens of a text that are read, special tokens included.
        label_smoothing: probability spread over the other labels, 0..1 (Szegedy et al. 2016, arXiv:1512.00567).
        loss: replaces cross-entropy; gives one loss per row.
        class_weights: how much a row of each label counts while the model trains, 1 on average over the training rows;
            a label that is not named counts 1. Validation losses count every row alike.

    Attributes:
        temperature: what logits are divided by before they become probabilities; 1 until a model is packaged with its
            own (evaluation/calibration.py). Labels, margins and losses do not depend on it.
    """

    name: ClassVar[str] = "text-classification"
    columns: ClassVar[Mapping[str, type]] = {"text": str, "label": str}
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro-f1")
    methods: ClassVar[tuple[str, ...]] = ("head", "prompt-tuning", "ia3", "adapter", "lora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ()  # plain columns
    decomposable: ClassVar[bool] = True
    temperature: float = 1.0

    def __init__(
        self,
        tokenizer: Tokenizer,
        labels: Sequence[str],
        *,
        max_length: int,
        label_smoothing: float = 0.1,
        loss: Loss | None = None,
        class_weights: Mapping[str, float] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.labels = tuple(labels)
        self.max_length = max_length
        self.label_smoothing = label_smoothing
        self._loss = loss
        self._weights_C = [class_weights.get(label, 1.0) for label in self.labels] if class_weights else None
        self._class_of = {label: index for index, label in enumerate(self.labels)}
        tokenizer.enable_truncation(max_length)

    def build(
        self, encoder: nn.Module, *, width: int, pooling: str, normalize: bool, head: nn.Module | None = None
    ) -> PooledClassifier:
        """The base under a new head; `head` replaces the linear one and maps (B, D) to (B, C)."""
        from burnish.model.pooled import SCALE, LinearHead, PooledClassifier

        if head is None:
            head = LinearHead(width, len(self.labels), scale=SCALE if normalize else 1.0)
        return PooledClassifier(encoder, head, pooling=pooling, normalize=normalize)

    def encode(self, row: Row) -> Encoded | Refusal:
        """Token ids of the text with the base's special tokens; the label may be absent when only predicting."""
        from burnish.task.texts import encoded_text

        target = self.target(row)
        return target if isinstance(target, Refusal) else encoded_text(self.tokenizer, row["text"], targets=target)

    def target(self, row: Row) -> Any:
        """The row's class as () int64, -1 without a label; a Refusal for a label that the model does not know."""
        import numpy as np

        label = row.get("label")
        if label is not None and label not in self._class_of:
            close = nearest(label, self.labels)
            advice = f', did you mean "{close}"?' if close else ""
            return Refusal("data/unknown-label", f'"{label}" is no label of this model{advice}')
        return np.array(-1 if label is None else self._class_of[label], dtype=np.int64)

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """Cross-entropy summed over the rows, in nats; weight = B rows.

        Smoothed, and weighted by class, only while the model trains. The sum is divided by rows and not by their
        weights: these are 1 on average, so the size of a step does not depend on which classes a batch holds.
        """
        smoothing = self.label_smoothing if model.training else 0.0
        losses_B = self.losses(model(batch), batch.targets, smoothing=smoothing)
        if model.training and self._weights_C is not None:
            losses_B = losses_B * losses_B.new_tensor(self._weights_C)[batch.targets]
        return LossTerm(losses_B.sum(), float(batch.row_count))

    def losses(self, logits_BC: Tensor, targets_B: Tensor, *, smoothing: float) -> Tensor:
        """(B,) cross-entropies in nats, or the caller's own losses; `smoothing` is that of the labels."""
        from torch.nn import functional as F

        if self._loss is not None:
            return self._loss(logits_BC, targets_B)
        return F.cross_entropy(logits_BC, targets_B, label_smoothing=smoothing, reduction="none")

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"label", "probability", "margin"} for each row; margin = logit of the first label minus the second's."""
        return self.said(model(batch))

    def said(self, logits_BC: Tensor) -> list[Row]:
        """What logits say of each row, as `predict` gives it."""
        import torch

        probabilities_BC = torch.softmax(logits_BC / self.temperature, dim=-1)
        top_B2, classes_B2 = torch.topk(logits_BC, 2, dim=-1)
        return [
            {
                "label": self.labels[int(classes[0])],
                "probability": float(probabilities[classes[0]]),
                "margin": float(top[0] - top[1]),
            }
            for probabilities, top, classes in zip(probabilities_BC, top_B2, classes_B2, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """What a package keeps of the task."""
        return {"labels": list(self.labels), "max_length": self.max_length}

    @classmethod
    def rebuilt(cls, tokenizer: Tokenizer, description: Mapping[str, Any]) -> Self:
        """The task of a package."""
        return cls(tokenizer, description["labels"], max_length=int(description["max_length"]))

    def reference(self, row: Row) -> str:
        """What metrics compare an answer with."""
        return str(row["label"])

    def answer(self, prediction: Row) -> str:
        """What metrics compare of a prediction."""
        return str(prediction["label"])

    def asked(self, given: Row | str) -> Row:
        """A row to predict for, of a text or of a row with the task's columns; its label is not looked at."""
        row = {"text": given} if isinstance(given, str) else given
        return {column: row.get(column) for column in self.columns if column != "label"}

    def shown(self, row: Row, prediction: Row) -> Row:
        """The prediction as it is."""
        return prediction
