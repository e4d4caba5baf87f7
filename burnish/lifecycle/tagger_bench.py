"""A tagger at work: a head over tokens, and the verdict by entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from burnish.data.tags import is_scheme, spans
from burnish.evaluation.arms import ArmResult
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.metrics.classification import ClassFigures
from burnish.evaluation.metrics.tagging import entity_figures
from burnish.evaluation.tagging_arms import PROBED, dictionary, majority_tag, token_probe
from burnish.lifecycle.encoder_bench import EncoderBench
from burnish.method.probe import choose_probe
from burnish.types import Example, Row, Split

_CHOOSING = (Split.TRAIN, Split.VALIDATION)


@dataclass(slots=True)
class TaggerBench(EncoderBench):
    """A base with a head that tags each token."""

    def arms(self) -> list[ArmResult]:
        tokens = [[example.row["tokens"] for example in self.data.splits[split]] for split in Split]
        tags = [self.references(split) for split in Split]
        features = [self.features(split) for split in Split]
        self.progress.stage("arms that need no fine-tuning: dictionary, probe")
        metric = create_metric(str(self.recipe.evaluation.metric), self.data.labels)
        return [
            majority_tag(tags[0], tokens[1], tokens[2]),
            dictionary(tokens[0], tags[0], tokens[1], tokens[2]),
            token_probe(features, tags, metric, seed=self.recipe.training.seed),
        ]

    def _before_steps(self) -> None:
        if not self.solved_start:
            return
        self.progress.stage("solving the head")
        classes_of = {part: np.asarray(self.encoded[part].arrays["targets"], np.int64) for part in _CHOOSING}
        probe = choose_probe(
            self.features(Split.TRAIN)[:PROBED],
            classes_of[Split.TRAIN][:PROBED],
            self.features(Split.VALIDATION),
            classes_of[Split.VALIDATION],
            lambda targets, predictions: float((targets == predictions).mean()),
            class_count=len(self.data.labels),
        )
        self.model.head.set_(torch.from_numpy(probe.weight).float(), torch.from_numpy(probe.bias).float())

    def classes(self, tuned: Sequence[Any]) -> Mapping[str, ClassFigures]:
        """Of each kind of entity."""
        return entity_figures(self.references(Split.TEST), tuned) if is_scheme(self.data.labels) else {}

    def prediction_row(self, example: Example, prediction: Row) -> dict[str, Any]:
        return {
            "file": example.origin.file,
            "line": example.origin.line,
            "text": " ".join(example.row["tokens"]),
            "label": self.said(example, example.row["tags"]),
            "prediction": self.said(example, prediction["tags"]),
            "probability": min(prediction["probabilities"]),
            "tags": list(prediction["tags"]),
            "wanted_tags": list(example.row["tags"]),
        }

    def said(self, example: Example, answer: Any) -> Any:
        """The entities in words, "person: Ann; city: Rome"; tags of another kind as they are."""
        if not is_scheme(self.data.labels):
            return " ".join(answer)
        tokens = example.row["tokens"]
        return "; ".join(f"{kind}: {' '.join(tokens[begin:end])}" for kind, begin, end in spans(answer))
