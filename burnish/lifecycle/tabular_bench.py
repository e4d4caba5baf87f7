"""A table at work: a transformer over its rows, the trees it is compared with, and which of them becomes the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch

from burnish.data.prepare import PreparedData
from burnish.data.table_columns import fit_table
from burnish.engine.distributed import join_ranks
from burnish.engine.predict import loss_and_predictions, pooled_features
from burnish.engine.rows import EncodedRows
from burnish.errors import DataProblemError
from burnish.evaluation.arms import ArmResult
from burnish.evaluation.calibration import Temperature, fit_temperature
from burnish.evaluation.groups import Decisions
from burnish.evaluation.importance import permutation_importance
from burnish.evaluation.judge import judge
from burnish.evaluation.metrics import LABEL_METRICS, METRICS, create_metric, find_metric
from burnish.evaluation.metrics.classification import class_figures, confusion_matrix
from burnish.evaluation.metrics.probabilities import SMALLEST, OfLikeliest, OfProbabilities, likeliest
from burnish.evaluation.metrics.resampling import value_of
from burnish.evaluation.table_arms import TableArms, TableRows
from burnish.evaluation.table_verdict import advice, shipped
from burnish.lifecycle.own import Own
from burnish.lifecycle.resolve_table import metrics_for
from burnish.lifecycle.trust import judged_sureness, told, with_groups
from burnish.lifecycle.workbench import Workbench, settled_machine
from burnish.model.load import Base
from burnish.model.tabular import TabularTransformer
from burnish.model.trees import Trees
from burnish.recipe.schema import Recipe
from burnish.serving.table_package import Uses, save_table_model
from burnish.serving.table_predict import ROWS_ARE_ALIKE, TablePredictor
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Example, Metric, Progress, Row, Split

Array = np.ndarray[Any, Any]
_ARM: Mapping[Uses, str] = {"transformer": "tuned", "trees": "trees"}  # what evaluation.json calls the two


@dataclass(slots=True)
class TabularBench(Workbench):
    """Rows of a table, read as their training rows say."""

    _arms: TableArms | None = field(default=None)

    @classmethod
    def set_up(
        cls,
        recipe: Recipe,
        base: Base,
        data: PreparedData,
        task_class: Any,
        own: Own,
        folder: RunFolder,
        progress: Progress,
    ) -> Self:
        """Looks at the columns of the training rows and encodes all rows by them; the weights are random."""
        ranks = join_ranks()
        device, precision = settled_machine(recipe)
        rows = {split: [example.row for example in examples] for split, examples in data.splits.items()}
        progress.stage("looking at the columns")
        table = fit_table([row["features"] for row in rows[Split.TRAIN]], recipe.table)
        progress.note(table.describe())
        smoothing = recipe.training.label_smoothing
        if data.labels:
            task = task_class(table, data.labels, class_weights=data.class_weights, label_smoothing=smoothing)
        else:
            numbers = np.array([row["target"] for row in rows[Split.TRAIN]])
            _require_different(numbers, data)
            task = task_class(table, centre=float(numbers.mean()), spread=float(numbers.std()))
        return cls(
            recipe=recipe,
            base=base,
            data=data,
            task=task,
            own=own,
            folder=folder,
            progress=progress,
            encoded={split: EncodedRows.of(task.encode_all(some)) for split, some in rows.items()},
            problems=[],
            layout=ROWS_ARE_ALIKE,
            precision=precision,
            device=device,
            model=TabularTransformer(task.shape()).to(device),
            ranks=ranks,
        )

    def _before_steps(self) -> None:
        """Random weights are where a table starts."""

    def decides(self) -> tuple[str, bool]:
        name = str(self.recipe.evaluation.metric)
        return name, find_metric(name).higher_is_better

    def metrics(self) -> list[Metric]:
        """Empty metrics of probabilities, or of numbers; the one that decides first."""
        names = dict.fromkeys([str(self.recipe.evaluation.metric), *metrics_for(self.data.label_counts[Split.TRAIN])])
        return [self._metric(name) for name in names]

    def _metric(self, name: str) -> Metric:
        labels = self.task.labels
        known: Any = METRICS.get(name)
        if known is not None and issubclass(known, OfProbabilities):
            made: Metric = known(labels, self.recipe.table.positive or "")
            return made
        if labels and (known is None or name in LABEL_METRICS):
            return OfLikeliest(create_metric(name, labels), labels)
        return create_metric(name, labels)

    def references(self, split: Split) -> list[Any]:
        """The target of each row of a split."""
        return [example.row["target"] for example in self.data.splits[split]]

    def validate(self, model: Any, rows: Sequence[Encoded]) -> dict[str, float]:
        """Loss and metrics on the validation rows."""
        options: Any = {"layout": self.layout, "precision": self.precision, "device": self.device}
        loss, predictions = loss_and_predictions(self.task, model, rows, **options)
        answers = [tuple(row["probabilities"]) if self.task.labels else row["value"] for row in predictions]
        references = self.references(Split.VALIDATION)
        return {"loss": loss, **{metric.name: value_of(metric, references, answers) for metric in self.metrics()}}

    def save_final(self, model: Any) -> None:
        """Publishes the transformer and the trees; the verdict may let the trees answer instead."""
        self.progress.stage("gradient-boosted trees")
        fitted = self.arms().fit_trees()
        calibration = self._calibrated(model, fitted.trees) if self.task.labels else {}
        self.progress.stage("saving the model")
        save_table_model(
            self.folder.final,
            self.task,
            model.cpu(),
            fitted.trees,
            settings=fitted.settings,
            uses="transformer",
            calibration={uses: found.as_dict() for uses, found in calibration.items()},
        )
        self.folder.event("saved", path="final")

    def _calibrated(self, model: Any, trees: Trees) -> dict[Uses, Temperature]:
        """How sure both models may be, from the validation rows."""
        validation, truth = self.arms().parts[Split.VALIDATION], self.arms().numbered(Split.VALIDATION)
        logits = pooled_features(
            model.eval(),
            self.encoded[Split.VALIDATION],
            layout=self.layout,
            precision=self.precision,
            device=self.device,
        )
        likely = np.log(np.maximum(trees.predict(validation.inputs), SMALLEST))
        found: dict[Uses, Temperature] = {
            "transformer": fit_temperature(truth, logits),
            "trees": fit_temperature(truth, likely),
        }
        for name, temperature in found.items():
            self.progress.note(f"{name}: {told(temperature)}")
        return found

    def arms(self) -> TableArms:
        """What needs no training of weights by steps, on the rows the transformer has."""
        if self._arms is None:
            self._arms = TableArms(
                table=self.task.table,
                parts={
                    split: TableRows.of(self.task.table, [example.row for example in examples])
                    for split, examples in self.data.splits.items()
                },
                labels=self.task.labels,
                metric=self.metrics()[0],
                class_weights=self.data.class_weights,
                seed=self.recipe.training.seed,
                threads=torch.get_num_threads(),
            )
        return self._arms

    def judge(self, opened: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """evaluation.json's content, and the rows of predictions.jsonl."""
        self.progress.stage("arms that need no fine-tuning: mean, linear model, trees")
        predictor = TablePredictor(self.folder.final, precision=self.recipe.training.precision)
        judged = (Split.VALIDATION, Split.TEST)
        rows = {split: [example.row for example in self.data.splits[split]] for split in judged}
        both: tuple[Uses, Uses] = ("transformer", "trees")
        raw = {uses: [predictor.raw_answers(rows[split], uses) for split in judged] for uses in both}
        answers = {uses: [predictor.calibrated(said, uses) for said in raw[uses]] for uses in both}
        arms = [
            self.arms().mean(),
            self.arms().linear(),
            ArmResult("trees", answers["trees"][0], answers["trees"][1], dict(predictor.settings)),
        ]
        self.progress.stage("the verdict on the sealed test rows")
        evaluation = self._verdict(arms, answers["transformer"], opened)
        uses = evaluation["shipped"] = shipped(evaluation)
        evaluation["verdict"]["advice"] = advice(evaluation, uses)
        evaluation |= self._sureness(predictor, raw, uses)
        evaluation = self._with_groups(evaluation, answers[uses][1])
        self.progress.stage("which columns the model relies on")
        evaluation["importance"] = permutation_importance(
            self.task.table.columns,
            rows[Split.VALIDATION],
            self.references(Split.VALIDATION),
            lambda shuffled: predictor.answers(shuffled, uses),
            self.metrics()[0],
            seed=self.recipe.training.seed,
        )
        return evaluation, self._prediction_rows(answers["transformer"][1], arms)

    def _verdict(self, arms: Sequence[ArmResult], tuned: Sequence[list[Any]], opened: int) -> dict[str, Any]:
        labels, references = self.task.labels, self.references(Split.TEST)
        further: dict[str, Any] = {}
        classes = {}
        if labels:
            likely = likeliest(labels, tuned[1])
            classes = class_figures(references, likely, labels)
            further = {
                "labels": list(labels),
                "confusion": {
                    "labels": list(labels),
                    "matrix": confusion_matrix(references, likely, labels).tolist(),
                },
            }
        return judge(
            task=self.task.name,
            metrics=self.metrics(),
            references=references,
            tuned=tuned[1],
            arms=arms,
            validation_references=self.references(Split.VALIDATION),
            validation_tuned=tuned[0],
            options=self.recipe.evaluation,
            method_name=self.recipe.method.name if self.recipe.method else "",
            seed=self.recipe.training.seed,
            classes=classes,
            opened=opened,
            further=further,
        )

    def _sureness(
        self, predictor: TablePredictor, raw: Mapping[Uses, Sequence[list[Any]]], uses: Uses
    ) -> dict[str, Any]:
        """Calibration and confidence of both models, first of the one that answers."""
        if not self.task.labels:
            return {}
        first: tuple[Uses, Uses] = ("trees", "transformer") if uses == "trees" else ("transformer", "trees")
        judged = (Split.VALIDATION, Split.TEST)
        return judged_sureness(
            {_ARM[name]: dict(zip(judged, map(np.array, raw[name]), strict=True)) for name in first},
            {_ARM[name]: predictor.calibrations.get(name, {}) for name in first},
            {split: self.references(split) for split in judged},
            labels=self.task.labels,
            positive=self.recipe.table.positive or "",
            options=self.recipe.evaluation,
            seed=self.recipe.training.seed,
        )

    def _with_groups(self, evaluation: dict[str, Any], answers: Sequence[Any]) -> dict[str, Any]:
        """The evaluation with the groups of the model that answers."""
        labels, references = self.task.labels, self.references(Split.TEST)
        decisions = None
        if labels:
            decisions = Decisions(self.recipe.table.positive or "", references, likeliest(labels, answers))
        return with_groups(
            evaluation,
            self.data,
            self.recipe.evaluation,
            self.metrics(),
            references,
            answers,
            seed=self.recipe.training.seed,
            decisions=decisions,
        )

    def _prediction_rows(self, tuned: Sequence[Any], arms: Sequence[ArmResult]) -> list[dict[str, Any]]:
        return [
            {
                "file": example.origin.file,
                "line": example.origin.line,
                "text": _text(example),
                **self._said(example, answer),
                "arms": {arm.name: self._said(example, arm.test_predictions[index])["prediction"] for arm in arms},
            }
            for index, (example, answer) in enumerate(zip(self.data.splits[Split.TEST], tuned, strict=True))
        ]

    def _said(self, example: Example, answer: Any) -> dict[str, Any]:
        target = example.row["target"]
        if not self.task.labels:
            return {"label": target, "prediction": answer}
        chosen: Row = self.task.chosen(answer)
        named = {"label": target, "prediction": chosen["label"], "probability": chosen["probability"]}
        return {**named, "probabilities": list(answer)}


def _require_different(numbers: Array, data: PreparedData) -> None:
    """Raises DataProblemError [data/one-number] when all training rows have the same target."""
    if numbers.min() == numbers.max():
        raise DataProblemError(
            "data/one-number",
            f"all {len(numbers):,} training rows have the number {numbers[0]:g}: there is nothing to predict",
            where=str(data.splits[Split.TRAIN][0].origin),
            hint="name another target: `data: {columns: {target: COLUMN}}`",
        )


def _text(example: Example) -> str:
    """A row as people read it."""
    cells: Mapping[str, Any] = example.row["features"]
    return "; ".join(f"{column}: {value}" for column, value in cells.items())
