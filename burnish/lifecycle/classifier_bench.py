"""A classifier at work: a head that is solved on the frozen base or started from its class means, labels, arms."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from burnish.data.prepare import PreparedData
from burnish.engine.predict import pooled_features
from burnish.engine.rows import EncodedRows
from burnish.errors import RecipeError
from burnish.evaluation.arms import ArmResult, base_centroid, base_probe, majority, tf_idf
from burnish.evaluation.calibration import (
    FEWEST,
    Temperature,
    fit_temperature,
    positive_of,
    softmax,
    unfitted,
)
from burnish.evaluation.groups import Decisions
from burnish.evaluation.judge_labels import judge_classification
from burnish.evaluation.metrics import create_metric, find_metric
from burnish.lifecycle.encoder_bench import Array, EncoderBench
from burnish.lifecycle.own import Own
from burnish.lifecycle.trust import judged_sureness, told
from burnish.method.probe import choose_probe
from burnish.model.load import Base, load_tokenizer
from burnish.model.pooled import LinearHead, PooledClassifier
from burnish.recipe.schema import Recipe
from burnish.serving.predict import Predictor
from burnish.storage.durable import append_lines, truncate
from burnish.task.text_classification import TextClassification
from burnish.types import Example, Row, Split

HEAD_START_ROWS = 256  # in all, spread over the classes
HEAD_START_ROWS_OF_A_CLASS = 8  # at least
CALIBRATION_ROWS = 2_000  # of validation, at most: one number is learned of them


@dataclass(slots=True)
class ClassifierBench(EncoderBench):
    """A base with a head for the labels of the data."""

    _logits: dict[Split, Array] = field(default_factory=dict)  # of the rows it is judged on

    @classmethod
    def make_task(cls, recipe: Recipe, base: Base, data: PreparedData, task_class: Any, own: Own) -> Any:
        return task_class(
            load_tokenizer(base.folder),
            data.labels,
            max_length=base.max_length,
            label_smoothing=recipe.training.label_smoothing,
            loss=own.loss,
            **({"class_weights": data.class_weights} if data.class_weights else {}),
        )

    def labels(self, split: Split) -> list[str]:
        return [str(example.row["label"]) for example in self.data.splits[split]]

    def _class_ids(self, split: Split) -> np.ndarray[Any, Any]:
        return np.asarray(self.encoded[split].arrays["targets"], dtype=np.int64)

    def _class_weights(self) -> np.ndarray[Any, Any] | None:
        """(C,) how much a row of each class counts in the loss; None when all count the same."""
        weights = self.data.class_weights
        return np.array([weights.get(label, 1.0) for label in self.data.labels]) if weights else None

    def metric_of(self, predictions: Sequence[Mapping[str, Any]], split: Split) -> dict[str, float]:
        """The task's metrics (and the caller's own, which may look at probabilities) of predictions for a split."""
        references = [{"label": label} for label in self.labels(split)]
        values = {}
        for name in dict.fromkeys([*self.task.metrics, str(self.recipe.evaluation.metric)]):
            metric = create_metric(name, self.data.labels)
            metric.update(predictions, references)
            values[name] = metric.compute().value
        return values

    def train(self) -> tuple[dict[str, Any], PooledClassifier]:
        """Solves the head, or takes the steps of the recipe's method."""
        if self.recipe.method is not None and self.recipe.method.name == "head":
            return self._solve_head(), self.model
        return self._train_steps(), self.model

    def _before_steps(self) -> None:
        if self.solved_start:
            self._solve_head()
        elif isinstance(self.model.head, LinearHead) and self.base.initialization == "pretrained":
            self._start_head(self.model.head)

    def _solve_head(self) -> dict[str, Any]:
        """The exact solution of the linear head on the frozen base."""
        self.progress.stage("solving the head")
        if not isinstance(self.model.head, LinearHead):
            raise RecipeError(
                "recipe/invalid",
                "method: head solves a linear head; your own head needs lora or full",
                where="method",
                hint="write `method: lora` or `method: full`",
            )
        started = time.monotonic()
        truncate(self.folder.metrics, 0)
        metric = str(self.recipe.evaluation.metric)

        def score(targets: np.ndarray[Any, Any], predictions: np.ndarray[Any, Any]) -> float:
            guessed = [{"label": self.data.labels[k]} for k in predictions]
            value = self.metric_of(guessed, Split.VALIDATION)[metric]
            return value if find_metric(metric).higher_is_better else -value

        probe = choose_probe(
            self.features(Split.TRAIN),
            self._class_ids(Split.TRAIN),
            self.features(Split.VALIDATION),
            self._class_ids(Split.VALIDATION),
            score,
            class_count=len(self.data.labels),
            class_weights=self._class_weights(),
        )
        best_value = probe.validation_score if find_metric(metric).higher_is_better else -probe.validation_score
        self.model.head.set_(torch.from_numpy(probe.weight).float(), torch.from_numpy(probe.bias).float())
        append_lines(
            self.folder.metrics,
            [{"step": 1, "epoch": 1.0, "validation": {metric: best_value}, "best": True}],
        )
        learned = sum(p.numel() for p in self.model.head.parameters())
        return {
            "steps": 0,
            "epochs": 0,
            "best_step": 1,
            "best_value": best_value,
            "stopped": "solved to convergence",
            "trainable_parameters": learned,
            "total_parameters": sum(p.numel() for p in self.model.parameters()),
            "l2": probe.l2,
            "training_seconds": round(time.monotonic() - started, 2),
        }

    def _start_head(self, head: LinearHead) -> None:
        """Puts the head at the class means of a few rows of each class; the training moves it anyway."""
        class_of = self._class_ids(Split.TRAIN)
        places = [np.flatnonzero(class_of == k) for k in range(len(self.data.labels))]
        count = max(HEAD_START_ROWS_OF_A_CLASS, HEAD_START_ROWS // len(places))
        chosen = np.sort(np.concatenate([spread(of_class, count) for of_class in places]))
        self.progress.stage(f"vectors of the frozen base for {len(chosen):,} rows, where the head starts")
        rows = EncodedRows.of([self.encoded[Split.TRAIN][i] for i in chosen.tolist()])
        head.cpu().start_from_centroids(
            torch.from_numpy(np.array(self._start_vectors(rows))), torch.from_numpy(class_of[chosen])
        )

    def _start_vectors(self, rows: EncodedRows) -> np.ndarray[Any, Any]:
        """(rows, D) vectors that the head starts from."""
        return self.vectors(rows)

    def arms(self) -> list[ArmResult]:
        train, validation, test = (self.labels(split) for split in Split)
        texts = [[_text(e) for e in self.data.splits[split]] for split in Split]
        self.progress.stage("arms that need no fine-tuning: TF-IDF, centroid, probe")
        metric = create_metric(str(self.recipe.evaluation.metric), self.data.labels)
        of_words = [
            majority(train, len(validation), len(test)),
            tf_idf(texts[0], train, texts[1], validation, texts[2], metric),
        ]
        if self.base.initialization == "random":  # its vectors say nothing
            return of_words
        features = [self.features(split) for split in Split]
        return [
            *of_words,
            base_centroid(features[0], train, features[1], features[2]),
            base_probe(features[0], train, features[1], validation, features[2], metric, self.recipe.training.seed),
        ]

    def verdict(self, arms: Sequence[ArmResult], answers: Mapping[Split, list[Any]], opened: int) -> dict[str, Any]:
        return judge_classification(
            references=self.labels(Split.TEST),
            tuned=answers[Split.TEST],
            arms=arms,
            validation_references=self.labels(Split.VALIDATION),
            validation_tuned=answers[Split.VALIDATION],
            options=self.recipe.evaluation,
            train_label_counts=self.data.label_counts[Split.TRAIN],
            method_name=self.recipe.method.name if self.recipe.method else "",
            seed=self.recipe.training.seed,
            task=self.task.name,
            opened=opened,
        )

    def described(self, model: PooledClassifier) -> dict[str, Any]:
        """The package's description with the temperature that validation asks for, where logits are those of labels."""
        described = EncoderBench.described(self, model)
        if not self._says_labels():
            return described
        found = self._temperature(model)
        self.progress.note(told(found))
        return described | {"calibration": found.as_dict()}

    def _temperature(self, model: PooledClassifier) -> Temperature:
        if len(self.encoded[Split.VALIDATION]) < FEWEST:
            return unfitted(len(self.encoded[Split.VALIDATION]))
        self.progress.stage("how sure it may be")
        places = spread(np.arange(len(self.encoded[Split.VALIDATION])), CALIBRATION_ROWS).tolist()
        rows = EncodedRows.of([self.encoded[Split.VALIDATION][i] for i in places])
        logits = pooled_features(
            model.to(self.device).eval(), rows, layout=self.layout, precision=self.precision, device=self.device
        )
        return fit_temperature(np.asarray(rows.arrays["targets"], dtype=np.int64), logits)

    def _says_labels(self) -> bool:
        """Whether predictions are made of logits as ours are; a task of the caller's may do otherwise."""
        return type(self.task).predict is TextClassification.predict

    def predicted(self, predictor: Predictor) -> dict[Split, list[Row]]:
        if not self._says_labels():
            return EncoderBench.predicted(self, predictor)
        for split in (Split.TEST, Split.VALIDATION):
            rows = [example.row for example in self.data.splits[split]]
            self._logits[split] = predictor.logits(rows, progress=self.progress)
        return {split: predictor.task.said(torch.from_numpy(found)) for split, found in self._logits.items()}

    def trusted(
        self, evaluation: dict[str, Any], predictor: Predictor, answers: Mapping[Split, list[Any]]
    ) -> dict[str, Any]:
        if self._logits:
            probabilities = {split: softmax(found) for split, found in self._logits.items()}
            truth = {split: self.labels(split) for split in probabilities}
            evaluation |= judged_sureness(
                {"tuned": probabilities},
                {"tuned": predictor.calibration},
                truth,
                labels=self.data.labels,
                positive=self._positive(),
                options=self.recipe.evaluation,
                seed=self.recipe.training.seed,
            )
        return EncoderBench.trusted(self, evaluation, predictor, answers)

    def decisions(self, references: Sequence[Any], answers: Sequence[Any]) -> Decisions | None:
        return Decisions(self._positive(), references, answers)

    def _positive(self) -> str:
        return positive_of(self.data.label_counts[Split.TRAIN])

    def prediction_row(self, example: Example, prediction: Row) -> dict[str, Any]:
        return {
            "file": example.origin.file,
            "line": example.origin.line,
            "text": _text(example),
            "label": example.row["label"],
            "prediction": prediction["label"],
            "probability": prediction["probability"],
            "margin": prediction["margin"],
        }

    def said(self, example: Example, answer: Any) -> Any:
        return answer


def spread(places: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """At most `count` of the places, evenly spread from the first to the last."""
    chosen: np.ndarray[Any, Any] = places[np.linspace(0, len(places) - 1, min(len(places), count)).round().astype(int)]
    return chosen


def _text(example: Example) -> str:
    """What a bag of words can see of a row: all its texts."""
    return "\n".join(str(value) for name, value in example.row.items() if name != "label" and isinstance(value, str))
