"""A classifier of texts with any number of labels at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.evaluation.arms import ArmResult, tf_idf_features, unit_rows
from burnish.evaluation.label_set_arms import most_frequent_set, one_vs_rest
from burnish.evaluation.metrics.classification import ClassFigures
from burnish.evaluation.metrics.label_sets import label_figures
from burnish.lifecycle.encoder_bench import EncoderBench
from burnish.lifecycle.own import Own
from burnish.model.load import Base, load_tokenizer
from burnish.recipe.schema import Recipe
from burnish.types import Example, Row, Split


@dataclass(slots=True)
class LabelSetBench(EncoderBench):
    """A base with a head of one yes or no per label."""

    @classmethod
    def make_task(cls, recipe: Recipe, base: Base, data: PreparedData, task_class: Any, own: Own) -> Any:
        return task_class(load_tokenizer(base.folder), data.labels, max_length=base.max_length)

    def arms(self) -> list[ArmResult]:
        train, validation, test = (self.references(split) for split in Split)
        features = [unit_rows(self.features(split)) for split in Split]
        self.progress.stage("arms that need no fine-tuning: TF-IDF, probe")
        words = tf_idf_features("words", *([e.row["text"] for e in self.data.splits[split]] for split in Split))
        decider = self.metrics()[0]
        return [
            most_frequent_set(train, len(validation), len(test)),
            one_vs_rest("tf-idf", words[0], train, words[1], validation, words[2], decider),
            one_vs_rest("base-probe", features[0], train, features[1], validation, features[2], decider),
        ]

    def classes(self, tuned: Sequence[Any]) -> Mapping[str, ClassFigures]:
        return label_figures(self.references(Split.TEST), tuned)

    def prediction_row(self, example: Example, prediction: Row) -> dict[str, Any]:
        return {
            "file": example.origin.file,
            "line": example.origin.line,
            "text": example.row["text"],
            "label": self.said(example, self.task.reference(example.row)),
            "prediction": self.said(example, self.task.answer(prediction)),
            "probability": min(max(p, 1 - p) for p in prediction["probabilities"].values()),
        }

    def said(self, example: Example, answer: Any) -> Any:
        return "; ".join(answer)
