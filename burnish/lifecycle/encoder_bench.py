"""A base under a new head at work: vectors of the frozen base, validation, the saved model and its verdict.

One kind of task adds how its head starts, what needs no fine-tuning, and what else its verdict says.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from burnish.data.prepare import PreparedData
from burnish.engine.distributed import join_ranks
from burnish.engine.layout_choice import choose_layout
from burnish.engine.predict import loss_and_predictions, pooled_features
from burnish.engine.rows import EncodedRows
from burnish.engine.vocabulary import compact_vocabulary
from burnish.evaluation.arms import ArmResult
from burnish.evaluation.groups import Decisions
from burnish.evaluation.judge import judge
from burnish.evaluation.metrics import create_metric, find_metric
from burnish.evaluation.metrics.classification import ClassFigures
from burnish.evaluation.metrics.resampling import value_of
from burnish.evaluation.spellings import judge_spellings
from burnish.lifecycle.encode import cache, encode_splits
from burnish.lifecycle.environment import describe_environment
from burnish.lifecycle.own import Own
from burnish.lifecycle.trust import spelt_columns, with_groups
from burnish.lifecycle.workbench import Workbench, settled_machine
from burnish.model.load import Base, load_encoder, load_tokenizer, require_known_tokens
from burnish.model.pooled import PooledClassifier, PooledEncoder
from burnish.recipe.schema import Recipe
from burnish.serving.package import save_package
from burnish.serving.predict import Predictor
from burnish.storage.fingerprint import canonical_sha256
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Example, Metric, Progress, Row, Split

Array = np.ndarray[Any, Any]
UNALTERED = ("head", "freeze", "full")  # methods that add nothing to the layers of the base


@dataclass(slots=True)
class EncoderBench(Workbench):
    """A base with a head for what the rows teach."""

    solved_start: bool = False  # whether steps start at the solved head, where a kind of task knows one
    _features: dict[Split, Array] = field(default_factory=dict)
    _fresh: PooledEncoder | None = None

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
        """Loads the base, encodes all rows and chooses layout and precision; what was chosen is recorded."""
        ranks = join_ranks()
        device, precision = settled_machine(recipe)
        task = cls.make_task(recipe, base, data, task_class, own)
        encoded, problems = encode_splits(task, data, progress, ours=own.task is None)
        encoder = load_encoder(base, unaltered=recipe.method is None or recipe.method.name in UNALTERED).to(device)
        require_known_tokens(task.tokenizer, encoder, base.folder)
        layout = choose_layout(encoder, encoded[Split.TRAIN], device=device, weights=base.weights_known_as())
        head = {"head": own.head(base.width, len(data.labels))} if own.head else {}
        model: Any = task.build(encoder, width=base.width, pooling=base.pooling, normalize=base.normalize, **head)
        return cls(
            recipe=recipe,
            base=base,
            data=data,
            task=task,
            own=own,
            folder=folder,
            progress=progress,
            encoded=encoded,
            problems=problems,
            layout=layout,
            precision=precision,
            device=device,
            model=model.to(device),
            ranks=ranks,
        )

    @classmethod
    def make_task(cls, recipe: Recipe, base: Base, data: PreparedData, task_class: Any, own: Own) -> Any:
        """The task as this run's recipe and rows want it."""
        return task_class(
            load_tokenizer(base.folder),
            data.labels,
            max_length=base.max_length,
            label_smoothing=recipe.training.label_smoothing,
        )

    @abstractmethod
    def arms(self) -> list[ArmResult]:
        """What needs no fine-tuning, each on the rows the tuned model had."""

    def classes(self, tuned: Sequence[Any]) -> Mapping[str, ClassFigures]:
        """Figures of each class from the tuned model's answers to the test rows, where there are classes."""
        return {}

    @abstractmethod
    def prediction_row(self, example: Example, prediction: Row) -> dict[str, Any]:
        """A test row and what the tuned model says of it, for predictions.jsonl."""

    @abstractmethod
    def said(self, example: Example, answer: Any) -> Any:
        """An answer to a row as people read it, for predictions.jsonl."""

    def features(self, split: Split) -> Array:
        """(rows, D) vectors of the frozen base for a split, (R, D) of all tokens read; made once for base and data."""
        if split not in self._features:
            self.progress.stage(f"vectors of the frozen base for the {split.value} rows")
            self._features[split] = self.vectors(self.encoded[split])
        return self._features[split]

    def with_fewer(self, places: Sequence[int]) -> Self:
        """The same bench with the training rows at these places only; one vector for each row is at hand already."""
        train = self.data.splits[Split.TRAIN]
        fewer = {Split.TRAIN: [train[i] for i in places]}
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, splits={**self.data.splits, **fewer}),
            encoded={**self.encoded, Split.TRAIN: EncodedRows.of([self.encoded[Split.TRAIN][i] for i in places])},
            _features={split: self.features(split) for split in Split}
            | {Split.TRAIN: self.features(Split.TRAIN)[list(places)]},
        )

    def vectors(self, rows: EncodedRows, model: PooledEncoder | None = None) -> Array:
        """Vectors of the frozen base for these rows, from the cache when they are there.

        Args:
            model: pools them in another way than the task's model does.
        """
        model = model or self._frozen_base()
        key = self._key_of_vectors(rows, model)
        kept = cache().find(key)
        if kept is not None:
            return kept["vectors"]
        vectors = pooled_features(
            model,
            rows,
            layout=self.layout,
            precision=self.precision,
            device=self.device,
            progress=self.progress,
        )
        cache().keep(key, {"vectors": vectors})
        return vectors

    def _key_of_vectors(self, rows: EncodedRows, model: PooledEncoder) -> str:
        """Everything that decides their bits."""
        names = ("tokens", "row_ends", "segments", "segment_ends", "reads", "read_ends", "types", "pixels")
        arrays = (rows.arrays[name] for name in names if name in rows.arrays)
        settled = {
            "base": self.base.describe() | {"adapter": str(self.base.adapter)},
            "pooling": [model.pooling, model.normalize],
            "rows": [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays],
            "layout": self.layout.reason,
            "precision": self.precision.name,
            "threads": torch.get_num_threads(),
            "environment": describe_environment(),
            "device": str(self.device),
        }
        return canonical_sha256(settled)

    def _frozen_base(self) -> PooledEncoder:
        """The base as it was before the training; loaded anew when the training has changed it."""
        if not self.trained:
            base: PooledEncoder = self.model.base.eval()
            return base
        if self._fresh is None:
            encoder = load_encoder(self.base, unaltered=True).to(self.device)
            choose_layout(encoder, self.encoded[Split.TRAIN], device=self.device, weights=self.base.weights_known_as())
            like: PooledEncoder = self.model.base
            self._fresh = PooledEncoder(encoder, pooling=like.pooling, normalize=like.normalize).eval()
        return self._fresh

    def references(self, split: Split) -> list[Any]:
        """What is right for each row of a split, as metrics compare it."""
        return [self.task.reference(example.row) for example in self.data.splits[split]]

    def metrics(self) -> list[Metric]:
        """Empty metrics of the task; the one that decides first."""
        names = dict.fromkeys([str(self.recipe.evaluation.metric), *self.task.metrics])
        return [create_metric(name, self.data.labels) for name in names]

    def metric_of(self, predictions: Sequence[Mapping[str, Any]], split: Split) -> dict[str, float]:
        """The task's metrics of predictions for a split."""
        references, answers = self.references(split), self._answers(split, predictions)
        return {metric.name: value_of(metric, references, answers) for metric in self.metrics()}

    def _answers(self, split: Split, predictions: Sequence[Row]) -> list[Any]:
        """Predictions for a split as metrics compare them."""
        rows = zip(self.data.splits[split], predictions, strict=True)
        return [self.task.answer(self.task.shown(example.row, prediction)) for example, prediction in rows]

    def _before_steps(self) -> None:
        """A head of random weights is where most tasks start."""

    def decides(self) -> tuple[str, bool]:
        name = str(self.recipe.evaluation.metric)
        return name, find_metric(name).higher_is_better

    def _compacted(self) -> AbstractContextManager[tuple[list[Sequence[Encoded]], str]]:
        """The training and validation rows for a table of the words they have."""
        rows = (self.encoded[Split.TRAIN], self.encoded[Split.VALIDATION])
        return compact_vocabulary(self.model.encoder, *rows, layout=self.layout, device=self.device)

    def validate(self, model: Any, rows: Sequence[Encoded]) -> dict[str, float]:
        """Loss and metrics on the validation rows."""
        options: Any = {"layout": self.layout, "precision": self.precision, "device": self.device}
        loss, predictions = loss_and_predictions(self.task, model, rows, **options)
        return {"loss": loss, **self.metric_of(predictions, Split.VALIDATION)}

    def save_final(self, model: PooledClassifier) -> None:
        described = self.described(model)
        self.progress.stage("saving the model")
        save_package(self.folder.final, model.cpu(), base=self.base, described=described)
        self.folder.event("saved", path="final")

    def described(self, model: PooledClassifier) -> dict[str, Any]:
        """What the package says of the model beside its weights."""
        assert self.recipe.method is not None
        return {"task": self.task.name, "method": self.recipe.method.name, **self.task.describe()}

    def judge(self, runs: Path, opened: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """evaluation.json's content, and the rows of predictions.jsonl."""
        arms = self.arms()
        self.progress.stage("the verdict on the sealed test rows")
        predictor = Predictor(
            self.folder.final,
            runs=runs,
            head=self.own.head,
            task=type(self.task),
            precision=self.recipe.training.precision,
        )
        predicted = self.predicted(predictor)
        answers = {split: self._answers(split, rows) for split, rows in predicted.items()}
        evaluation = self.trusted(self.verdict(arms, answers, opened), predictor, answers)
        rows = [
            self.prediction_row(example, self.task.shown(example.row, prediction))
            | {"arms": {arm.name: self.said(example, arm.test_predictions[index]) for arm in arms}}
            for index, (example, prediction) in enumerate(
                zip(self.data.splits[Split.TEST], predicted[Split.TEST], strict=True)
            )
        ]
        return evaluation, rows

    def predicted(self, predictor: Predictor) -> dict[Split, list[Row]]:
        """What the model says of the rows it is judged on."""
        return {
            split: predictor.predict_rows([e.row for e in self.data.splits[split]], progress=self.progress)
            for split in (Split.TEST, Split.VALIDATION)
        }

    def trusted(
        self, evaluation: dict[str, Any], predictor: Predictor, answers: Mapping[Split, list[Any]]
    ) -> dict[str, Any]:
        """The evaluation with what it says beyond the verdict: groups, other spellings."""
        test, options, seed = self.data.splits[Split.TEST], self.recipe.evaluation, self.recipe.training.seed
        references, said = self.references(Split.TEST), answers[Split.TEST]
        if options.robustness_rows and (columns := spelt_columns(self.task)):
            self.progress.stage("the same rows with typing errors, other case and other spaces")
            evaluation["robustness"] = judge_spellings(
                [e.row for e in test],
                columns,
                references,
                said,
                lambda rows: [
                    self.task.answer(self.task.shown(row, prediction))
                    for row, prediction in zip(rows, predictor.predict_rows(rows), strict=True)
                ],
                self.metrics()[0],
                options=options,
                seed=seed,
            )
        return with_groups(
            evaluation,
            self.data,
            options,
            self.metrics(),
            references,
            said,
            seed=seed,
            decisions=self.decisions(references, said),
        )

    def decisions(self, references: Sequence[Any], answers: Sequence[Any]) -> Decisions | None:
        """Right and predicted labels of the test rows, where each has one."""
        return None

    def verdict(self, arms: Sequence[ArmResult], answers: Mapping[Split, list[Any]], opened: int) -> dict[str, Any]:
        """What evaluation.json says of these answers."""
        return judge(
            task=self.task.name,
            metrics=self.metrics(),
            references=self.references(Split.TEST),
            tuned=answers[Split.TEST],
            arms=arms,
            validation_references=self.references(Split.VALIDATION),
            validation_tuned=answers[Split.VALIDATION],
            options=self.recipe.evaluation,
            method_name=self.recipe.method.name if self.recipe.method else "",
            seed=self.recipe.training.seed,
            classes=self.classes(answers[Split.TEST]),
            opened=opened,
            further={"labels": list(self.data.labels)} if self.data.labels else {},
        )
