"""Text regression: a number for each text, such as how many stars a review gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from burnish.model.pooled import PooledClassifier


class TextRegression:
    """A number per text, from the pooled vector through a linear head.

    The model learns standard scores, so that neither the loss nor the learning rate depends on the unit.

    Args:
        tokenizer: the base's own, without padding or truncation.
        max_length: tokens of a text that are read, special tokens included.
        mean: of the training numbers, in their unit.
        deviation: their standard deviation, > 0.
    """

    name: ClassVar[str] = "text-regression"
    columns: ClassVar[Mapping[str, type]] = {"text": str, "score": float}
    metrics: ClassVar[tuple[str, ...]] = ("r2", "mae", "rmse", "spearman")
    methods: ClassVar[tuple[str, ...]] = ("prompt-tuning", "ia3", "adapter", "lora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("text-regression",)
    learns_from: ClassVar[str] = "texts with a number"
    row_example: ClassVar[str] = 'text: {"text": ..., "score": 4.5}'
    decomposable: ClassVar[bool] = True

    def __init__(self, tokenizer: Tokenizer, *, max_length: int, mean: float, deviation: float) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.mean = mean
        self.deviation = deviation
        tokenizer.enable_truncation(max_length)

    def describe(self) -> dict[str, Any]:
        """What a package keeps of the task."""
        return {"max_length": self.max_length, "mean": self.mean, "deviation": self.deviation}

    @classmethod
    def rebuilt(cls, tokenizer: Tokenizer, description: Mapping[str, Any]) -> Self:
        """The task of a package."""
        kept = {name: float(description[name]) for name in ("mean", "deviation")}
        return cls(tokenizer, max_length=int(description["max_length"]), **kept)

    def build(self, encoder: nn.Module, *, width: int, pooling: str, normalize: bool) -> PooledClassifier:
        """The base under a new head with one output."""
        from burnish.model.pooled import LinearHead, PooledClassifier

        return PooledClassifier(encoder, LinearHead(width, 1, scale=1.0), pooling=pooling, normalize=normalize)

    def encode(self, row: Row) -> Encoded | Refusal:
        """Token ids of the text and the standard score of its number, which may be absent when only predicting."""
        from burnish.task.texts import encoded_text

        return encoded_text(self.tokenizer, row["text"], targets=self.target(row))

    def target(self, row: Row) -> Any:
        """The standard score of a row's number as () float32; 0 without one."""
        import numpy as np

        score = row.get("score")
        return np.array(0.0 if score is None else (score - self.mean) / self.deviation, dtype=np.float32)

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """Squared error of the standard scores summed over the rows; weight = B rows."""
        from torch.nn import functional as F

        scores_B = model(batch).squeeze(-1)
        return LossTerm(F.mse_loss(scores_B, batch.targets, reduction="sum"), float(batch.row_count))

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"score"} for each row, in the unit of the training numbers."""
        return [{"score": self.mean + self.deviation * score} for score in model(batch).squeeze(-1).tolist()]

    def reference(self, row: Row) -> float:
        """What metrics compare an answer with."""
        return float(row["score"])

    def answer(self, prediction: Row) -> float:
        """What metrics compare of a prediction."""
        return float(prediction["score"])

    def asked(self, given: Row | str) -> Row:
        """A row to predict for."""
        return {"text": given if isinstance(given, str) else given.get("text")}

    def shown(self, row: Row, prediction: Row) -> Row:
        """The prediction as it is."""
        return prediction
