"""A model of a table that answers, whichever of the two it is: the same reading of cells as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from burnish.engine.layout import LayoutChoice
from burnish.engine.precision import choose_device, choose_precision
from burnish.engine.predict import predict_rows
from burnish.errors import DataProblemError, excerpt
from burnish.evaluation.calibration import softened
from burnish.serving.table_package import Uses, load_table_model, named
from burnish.task.tabular import Tabular
from burnish.types import Encoded, Progress, Row

ROWS_ARE_ALIKE = LayoutChoice(True, 0, "padded: all rows of a table have the same number of tokens")


class TablePredictor:
    """Predicts the target of rows with a tuned model.

    Args:
        final: the run's `final` folder.
    """

    def __init__(self, final: Path, *, precision: str = "auto") -> None:
        package = load_table_model(final)
        self.task: Tabular = package.task
        self.uses: Uses = package.uses
        self.trees = package.trees
        self.settings: Mapping[str, Any] = package.description["trees"]
        self.calibrations: Mapping[Uses, Mapping[str, Any]] = package.description.get("calibration") or {}
        self.device = choose_device()
        self.precision = choose_precision(precision, self.device)
        self.model = package.model.to(self.device)

    def predict(self, rows: Sequence[str | Row], *, progress: Progress | None = None) -> list[Row]:
        """{"label", "probability", "probabilities" by label} for each row, or {"value"}; in order.

        Args:
            rows: column -> cell; a column that a row lacks is missing there.

        Raises:
            DataProblemError: [predict/bad-row] when something is not a row; [predict/unknown-column] when no row has
                one of the columns that the model reads.
        """
        self.require_rows(rows)
        features: list[Row] = [{"features": row} for row in rows]
        found = self.answers(features, self.uses, progress=progress)
        if not self.task.labels:
            return [{"value": value} for value in found]
        return [{**self.task.chosen(answer), "probabilities": named(self.task.labels, answer)} for answer in found]

    def require_rows(self, rows: Sequence[Any]) -> None:
        """Raises DataProblemError as `predict` does."""
        for index, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise DataProblemError(
                    "predict/bad-row",
                    f'"{excerpt(str(row))}" is not a row of a table',
                    where=f"item {index + 1}",
                    hint='give the columns by name: {"tenure": 5, "contract": "monthly"}, or a file with --data',
                )
        self._require_columns(rows)

    @property
    def calibration(self) -> Mapping[str, Any]:
        """What the package says of the temperature of the model that answers."""
        return self.calibrations.get(self.uses, {})

    def answers(self, rows: Sequence[Row], uses: Uses, *, progress: Progress | None = None) -> list[Any]:
        """What one of the two models says to rows with "features": a tuple of probabilities each, or a number."""
        return self.calibrated(self.raw_answers(rows, uses, progress=progress), uses)

    def calibrated(self, answers: list[Any], uses: Uses) -> list[Any]:
        """Probabilities at the model's temperature; numbers stay as they are."""
        temperature = float(self.calibrations.get(uses, {}).get("temperature", 1.0))
        if temperature == 1.0 or not answers:
            return answers
        return [tuple(row) for row in softened(np.array(answers), temperature).tolist()]

    def raw_answers(self, rows: Sequence[Row], uses: Uses, *, progress: Progress | None = None) -> list[Any]:
        """The same without a temperature."""
        if not rows:
            return []
        if uses == "trees":
            features, table = [row["features"] for row in rows], self.task.table
            inputs = np.concatenate([table.number_cells(features), table.category_ids(features)], axis=1)
            found = self.trees.predict(inputs)
            return [tuple(row) for row in found.tolist()] if found.ndim == 2 else found.tolist()
        encoded = self.task.encode_all([{"features": row["features"]} for row in rows])
        predictions = predict_rows(
            self.task,
            self.model,
            [row for row in encoded if isinstance(row, Encoded)],
            layout=ROWS_ARE_ALIKE,
            precision=self.precision,
            device=self.device,
            progress=progress,
        )
        return [tuple(row["probabilities"]) if self.task.labels else row["value"] for row in predictions]

    def _require_columns(self, rows: Sequence[Any]) -> None:
        known = {column for row in rows for column in row}
        absent = [column for column in self.task.table.columns if column not in known]
        if rows and absent:
            raise DataProblemError(
                "predict/unknown-column",
                f'no row has the column "{excerpt(absent[0])}", which the model reads',
                known=sorted(excerpt(str(column)) for column in known),
                hint=f"the model reads: {', '.join(map(excerpt, self.task.table.columns))}",
            )
