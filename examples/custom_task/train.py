"""Your own task, metric, loss and head in one file: two text columns, judged by what errors cost.

Run it from this folder:  python train.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor, nn
from torch.nn import functional as F

import burnish
from burnish.types import Encoded, MetricValue, Refusal, Row

HERE = Path(__file__).parent


class BusinessAndMessage(burnish.TextClassification):
    """One label from two columns: what kind of business it is, and what the customer wrote."""

    name: ClassVar[str] = "business-and-message"
    columns: ClassVar = {"business": str, "text": str, "label": str}

    def encode(self, row: Row) -> Encoded | Refusal:
        return super().encode({**row, "text": f"{row['business']}: {row['text']}"})


class Savings:
    """1 minus the cost per message: a message that support had to act on and did not costs 1, any other error 0.2."""

    name: ClassVar[str] = "savings"
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self.cost, self.n = 0.0, 0

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        for prediction, reference in zip(predictions, references, strict=True):
            self.n += 1
            if prediction["label"] != reference["label"]:
                self.cost += 1.0 if reference["label"] == "support" else 0.2

    def merge(self, other: Self) -> None:
        self.cost += other.cost
        self.n += other.n

    def compute(self) -> MetricValue:
        return MetricValue(self.name, 1.0 - self.cost / max(1, self.n), self.n)


def focal_loss(logits_BC: Tensor, targets_B: Tensor) -> Tensor:
    """(B,) focal loss with gamma 1: easy rows count less (Lin et al. 2017, arXiv:1708.02002)."""
    losses_B = F.cross_entropy(logits_BC, targets_B, reduction="none")
    return (1 - (-losses_B).exp()) * losses_B


def two_layers(width: int, classes: int) -> nn.Module:
    """Head from (B, width) to (B, classes)."""
    return nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, classes))


if __name__ == "__main__":
    run = burnish.train(
        HERE / "messages.csv",
        overrides=["data.columns={business: business, text: message, label: next_action}", "training.epochs=2"],
        task=BusinessAndMessage,
        metric=Savings,
        loss=focal_loss,
        head=two_layers,
    )
    print(run.verdict["answer"], run.verdict["advice"])
