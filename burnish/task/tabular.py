"""Tables: one column predicted from the others, a class or a number.

Shapes: B rows, C classes, K numbers, M categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from burnish.data.row_values import number
from burnish.data.table import FIRST_VALUE, Table
from burnish.errors import nearest
from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from burnish.model.tabular import TabularShape


class Tabular:
    """One class, or one number, for each row of a table.

    Args:
        table: how the cells are read.
        labels: in the order of the outputs; empty where a number is predicted.
        centre, spread: mean and standard deviation of the training rows' numbers, in their own unit.
        class_weights: how much a row of each label counts while the model trains; a label not named counts 1.
        label_smoothing: probability spread over the other labels while the model trains, 0..1.
    """

    name: ClassVar[str] = "tabular"
    columns: ClassVar[Mapping[str, type]] = {"features": dict, "target": object}
    metrics: ClassVar[tuple[str, ...]] = ("roc-auc", "pr-auc", "macro-f1", "r2")
    methods: ClassVar[tuple[str, ...]] = ("full",)
    row_kinds: ClassVar[tuple[str, ...]] = ("tabular",)
    learns_from: ClassVar[str] = "columns of numbers and categories, one of which is to be predicted"
    row_example: ClassVar[str] = (
        "case, with a column for each thing that is known of it, and say which one is to be predicted: "
        "`data: {columns: {target: COLUMN}}`"
    )
    decomposable: ClassVar[bool] = True

    def __init__(
        self,
        table: Table,
        labels: Sequence[str] = (),
        *,
        centre: float = 0.0,
        spread: float = 1.0,
        class_weights: Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        import numpy as np

        self.table = table
        self.labels = tuple(labels)
        self.centre, self.spread = centre, spread
        self.label_smoothing = label_smoothing
        self._class_of = {label: index for index, label in enumerate(self.labels)}
        self._weights_C = [class_weights.get(label, 1.0) for label in self.labels] if class_weights else None
        sizes = [FIRST_VALUE + len(category.values) for category in table.categories]
        self._first_M = 1 + 2 * len(table.numbers) + np.cumsum([0, *sizes[:-1]], dtype=np.int64)[: len(sizes)]
        self.vocabulary = 1 + 2 * len(table.numbers) + sum(sizes)

    def shape(self) -> TabularShape:
        """Of the model that learns it."""
        from burnish.model.tabular import TabularShape

        return TabularShape(self.vocabulary, len(self.table.numbers), max(1, len(self.labels)))

    def encode(self, row: Row) -> Encoded | Refusal:
        """A token for the row, one for each number (there or missing) and one for each category's value.

        The target may be absent when only predicting.
        """
        return self.encode_all([row])[0]

    def encode_all(self, rows: Sequence[Row]) -> list[Encoded | Refusal]:
        """The same for many rows, read column by column."""
        import numpy as np

        features = [row["features"] for row in rows]
        numbers_NK = self.table.number_cells(features)
        count = numbers_NK.shape[1]
        tokens_NS = np.zeros((len(rows), 1 + count + len(self._first_M)), dtype=np.int64)
        tokens_NS[:, 1 : 1 + count] = 1 + 2 * np.arange(count) + np.isnan(numbers_NK)
        tokens_NS[:, 1 + count :] = self._first_M + self.table.category_ids(features)
        encoded: list[Encoded | Refusal] = []
        for row, tokens_S, given_K in zip(rows, tokens_NS, self.table.scaled(numbers_NK), strict=True):
            target = self._target(row.get("target"))
            if isinstance(target, Refusal):
                encoded.append(target)
            else:
                encoded.append(Encoded(tokens_S, (len(tokens_S),), target, given=given_K))
        return encoded

    def _target(self, value: Any) -> Any:
        """() int64 class id, or () float64 number in spreads from the centre."""
        import numpy as np

        if not self.labels:
            return np.array(0.0 if value is None else (number(value, "target") - self.centre) / self.spread)
        if value is not None and value not in self._class_of:
            close = nearest(str(value), self.labels)
            advice = f', did you mean "{close}"?' if close else ""
            return Refusal("data/unknown-label", f'"{value}" is no label of this model{advice}')
        return np.array(-1 if value is None else self._class_of[value], dtype=np.int64)

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """Cross-entropy in nats, or half the squared error in squared spreads, summed over the rows; weight = B rows.

        Weighted by class only while the model trains, as in text classification.
        """
        from torch.nn import functional as F

        outputs_BC: Tensor = model(batch)
        if not self.labels:
            error_B = outputs_BC[:, 0] - batch.targets.to(outputs_BC.dtype)
            return LossTerm(error_B.square().sum() / 2, float(batch.row_count))
        smoothing = self.label_smoothing if model.training else 0.0
        losses_B = F.cross_entropy(outputs_BC, batch.targets, label_smoothing=smoothing, reduction="none")
        if model.training and self._weights_C is not None:
            losses_B = losses_B * losses_B.new_tensor(self._weights_C)[batch.targets]
        return LossTerm(losses_B.sum(), float(batch.row_count))

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"label", "probability", "probabilities" in the order of the labels} for each row, or {"value"}."""
        import torch

        outputs_BC: Tensor = model(batch)
        if not self.labels:
            return [{"value": self.centre + self.spread * float(value)} for value in outputs_BC[:, 0]]
        return [self.chosen(row) for row in torch.softmax(outputs_BC.double(), dim=-1).tolist()]

    def chosen(self, probabilities: Sequence[float]) -> Row:
        """The prediction that C probabilities stand for: the likeliest label, of equal ones the first."""
        best = max(range(len(self.labels)), key=probabilities.__getitem__)
        return {
            "label": self.labels[best],
            "probability": float(probabilities[best]),
            "probabilities": [float(share) for share in probabilities],
        }
