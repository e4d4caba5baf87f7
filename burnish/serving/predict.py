"""A tuned model that answers: the same encoding, layout and decoding as in training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from burnish.engine.bf16_weights import held_in_bf16
from burnish.engine.images import image_layout
from burnish.engine.layout import LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.memory import keep_freed_memory
from burnish.engine.packed import hold_packed
from burnish.engine.precision import Precision, choose_device, choose_precision
from burnish.engine.predict import answers_of_numbers, pooled_features, predict_rows
from burnish.engine.probe import probe_rows
from burnish.errors import DataProblemError
from burnish.model.images import FAMILIES, read_preprocessing
from burnish.model.load import load_tokenizer
from burnish.serving.package import HeadBuilder, load_package
from burnish.task.build import TASKS
from burnish.types import Encoded, Progress, Refusal, Row


class Predictor:
    """Predicts for texts or rows with a tuned model.

    Args:
        final: the run's `final` folder.
        runs: where earlier runs are, for a base that is one.
        head: builds the head of a model that was trained with one's own.
        task: the class it was trained with, when that was one's own; None: the one the folder names.
    """

    def __init__(
        self,
        final: Path,
        *,
        runs: Path,
        head: HeadBuilder | None = None,
        task: Any = None,
        precision: str = "auto",
    ) -> None:
        package = load_package(final, runs=runs, head=head)
        self.device = choose_device()
        self.precision: Precision = choose_precision(precision, self.device)
        self.model = package.model.to(self.device)
        chosen = task or TASKS[package.description["task"]]
        self._layout: LayoutChoice | None = None
        if package.base.model_type in FAMILIES:
            preprocessing = read_preprocessing(final)
            self.task = chosen.rebuilt(preprocessing, package.description)
            self._layout = image_layout(preprocessing)
        else:
            self.task = chosen.rebuilt(load_tokenizer(final), package.description)
        self.calibration: Mapping[str, Any] = package.description.get("calibration") or {}
        if self.calibration:
            self.task.temperature = float(self.calibration["temperature"])

    def predict(self, given: Sequence[str | Row], *, progress: Progress | None = None) -> list[Row]:
        """What the task says of each text or row, in order: {"label", "probability", "margin"} of a classifier.

        Args:
            given: texts, or rows with the task's columns.

        Raises:
            DataProblemError: [predict/bad-text] when something is not a text or is empty; [predict/bad-image].
        """
        prepared = self.prepared(given)
        found = self.predict_encoded([encoded for _, encoded in prepared], progress=progress)
        return [self.task.shown(row, prediction) for (row, _), prediction in zip(prepared, found, strict=True)]

    def prepared(self, given: Sequence[str | Row]) -> list[tuple[Row, Encoded]]:
        """Texts or rows as the task's columns, and as the model reads them.

        Raises:
            DataProblemError: as `predict` does.
        """
        rows = [self.task.asked(one) if isinstance(one, str | Mapping) else {} for one in given]
        for index, row in enumerate(rows):
            for column, value in row.items():
                if not _readable(value, self.task.columns.get(column, str)):
                    what = "not a text, or empty" if column == "text" else f'"{column}" is missing, or not readable'
                    raise DataProblemError("predict/bad-text", what, where=f"item {index + 1}", hint=self._how_to_ask())
            if not row:
                raise DataProblemError("predict/bad-text", "not a text, or empty", where=f"item {index + 1}")
        return list(zip(rows, self.encoded(rows), strict=True))

    def predict_rows(self, rows: Sequence[Row], *, progress: Progress | None = None) -> list[Row]:
        """The task's predictions for rows with its columns; what is to be learned of them is not looked at."""
        return self.predict_encoded(self.encoded(rows), progress=progress)

    def predict_encoded(self, encoded: Sequence[Encoded], *, progress: Progress | None = None) -> list[Row]:
        """The task's predictions for rows as the model reads them."""
        if not encoded:
            return []
        return predict_rows(
            self.task,
            self.model,
            encoded,
            layout=self._layout_for(encoded),
            precision=self.precision,
            device=self.device,
            progress=progress,
        )

    def logits(self, rows: Sequence[Row], *, progress: Progress | None = None) -> np.ndarray[Any, Any]:
        """(N, C) float32 of a classifier, as they come from the head, for rows with the task's columns; N > 0."""
        encoded = self.encoded(rows)
        return pooled_features(
            self.model,
            encoded,
            layout=self._layout_for(encoded),
            precision=self.precision,
            device=self.device,
            progress=progress,
        )

    def encoded(self, rows: Sequence[Row]) -> list[Encoded]:
        """The rows as the model reads them, what is asked of them left out."""
        return [self._encoded(index, row) for index, row in enumerate(rows)]

    def said(self, encoded: Sequence[Encoded], numbers: Sequence[np.ndarray[Any, Any]]) -> list[Row]:
        """What the task makes of numbers that another program computed for these rows.

        Args:
            numbers: (1, C) logits of each row, or (R, C) where the task reads tokens.
        """
        layout = self._layout or LayoutChoice(True, 0, "padded: no model is asked")
        return answers_of_numbers(self.task, encoded, numbers, layout=layout)

    def _layout_for(self, encoded: Sequence[Encoded]) -> LayoutChoice:
        if self._layout is None:
            self._layout = choose_layout(self.model.encoder, encoded, device=self.device)
            hold_for_prediction(self.model, encoded, self._layout, self.precision, self.device)
        return self._layout

    def _how_to_ask(self) -> str | None:
        """How to give what is more than one text."""
        asked = [f'"{column}"' for column in self.task.asked(dict.fromkeys(self.task.columns, ""))]
        return f"give rows with {' and '.join(asked)}: a file with --data, or mappings" if asked[1:] else None

    def _encoded(self, index: int, row: Row) -> Encoded:
        encoded: Encoded | Refusal = self.task.encode(self.task.asked(row))
        if isinstance(encoded, Refusal):
            code = "predict/bad-image" if "image" in self.task.columns else "predict/bad-text"
            raise DataProblemError(code, encoded.reason, where=f"item {index + 1}")
        return encoded


def hold_for_prediction(
    model: Any, encoded: Sequence[Encoded], layout: LayoutChoice, precision: Precision, device: torch.device
) -> None:
    """Makes a model that only predicts ready for what it computes in, once, as some rows show it to be right."""
    if device.type != "cpu":
        return
    keep_freed_memory()
    probe = probe_rows(encoded, 4)

    def compute() -> torch.Tensor:
        with precision.compute(device):
            found: torch.Tensor = model(layout.lay_out(probe, range(len(probe)), device=device)).float()
        return found

    rounds = precision.name == "bf16"
    if not rounds or held_in_bf16(model, compute):
        hold_packed(model, compute, torch.bfloat16 if rounds else torch.float32)


def _readable(value: object, kind: type) -> bool:
    """Whether a value is of its column's kind; a text must say something and be Unicode (no half surrogate pairs)."""
    if kind is str and isinstance(value, str):
        return bool(value.strip()) and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, list):
        return bool(value) and all(_readable(part, str) for part in value)
    return isinstance(value, kind)
