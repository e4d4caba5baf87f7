"""A tuned model that answers: the same encoding, layout and decoding as in training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from burnish.engine.layout import LayoutChoice, choose_layout
from burnish.engine.precision import Precision, choose_device, choose_precision
from burnish.engine.predict import predict_rows
from burnish.errors import DataProblemError
from burnish.model.load import load_tokenizer
from burnish.serving.package import HeadBuilder, load_classifier
from burnish.task.text_classification import TextClassification
from burnish.types import Encoded, Progress, Refusal, Row


class Predictor:
    """Predicts labels for texts with a tuned model.

    Args:
        final: the run's `final` folder.
        runs: where earlier runs are, for a base that is one.
        head: builds the head of a model that was trained with one's own.
        task: the class it was trained with, when that was one's own.
    """

    def __init__(
        self,
        final: Path,
        *,
        runs: Path,
        head: HeadBuilder | None = None,
        task: type[TextClassification] = TextClassification,
        precision: str = "auto",
    ) -> None:
        package = load_classifier(final, runs=runs, head=head)
        self.labels: tuple[str, ...] = tuple(package.description["labels"])
        self.device = choose_device()
        self.precision: Precision = choose_precision(precision, self.device)
        self.model = package.model.to(self.device)
        self.task = task(load_tokenizer(final), self.labels, max_length=int(package.description["max_length"]))
        self._layout: LayoutChoice | None = None

    def predict(self, texts: Sequence[str | Row], *, progress: Progress | None = None) -> list[Row]:
        """{"label", "probability", "margin"} for each text, in order.

        Args:
            texts: texts, or rows with the task's columns.

        Raises:
            DataProblemError: [predict/bad-text] when something is not a text or is empty.
        """
        rows = [dict(text) if isinstance(text, Mapping) else {"text": text} for text in texts]
        for index, row in enumerate(rows):
            for column, kind in self.task.columns.items():
                if column != "label" and not _readable(row.get(column), kind):
                    what = "not a text, or empty" if column == "text" else f'"{column}" is missing, or not readable'
                    raise DataProblemError("predict/bad-text", what, where=f"item {index + 1}")
        return self.predict_rows(rows, progress=progress)

    def predict_rows(self, rows: Sequence[Row], *, progress: Progress | None = None) -> list[Row]:
        """The same for rows with the task's columns; a label in them is not looked at."""
        if not rows:
            return []
        encoded = [self._encoded(index, row) for index, row in enumerate(rows)]
        if self._layout is None:
            self._layout = choose_layout(self.model.encoder, encoded, device=self.device)
        return predict_rows(
            self.task,
            self.model,
            encoded,
            layout=self._layout,
            precision=self.precision,
            device=self.device,
            progress=progress,
        )

    def _encoded(self, index: int, row: Row) -> Encoded:
        encoded = self.task.encode({name: value for name, value in row.items() if name != "label"})
        if isinstance(encoded, Refusal):
            raise DataProblemError("predict/bad-text", encoded.reason, where=f"item {index + 1}")
        return encoded


def _readable(value: object, kind: type) -> bool:
    """Whether a value is of its column's kind; a text must say something and be Unicode (no half surrogate pairs)."""
    if kind is str and isinstance(value, str):
        return bool(value.strip()) and not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, kind)
