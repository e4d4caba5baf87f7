"""A regression at work: a number for each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from burnish.data.prepare import PreparedData
from burnish.engine.rows import EncodedRows
from burnish.errors import DataProblemError
from burnish.evaluation.arms import ArmResult, tf_idf_features, unit_rows
from burnish.evaluation.number_arms import STRENGTHS, mean_number, ridge
from burnish.lifecycle.encoder_bench import EncoderBench
from burnish.lifecycle.own import Own
from burnish.model.load import Base, load_tokenizer
from burnish.model.pooled import LinearHead
from burnish.recipe.schema import Recipe
from burnish.types import Example, Row, Split

HEAD_START_ROWS = 1_024


@dataclass(slots=True)
class NumberBench(EncoderBench):
    """A base with a head of one number."""

    @classmethod
    def make_task(cls, recipe: Recipe, base: Base, data: PreparedData, task_class: Any, own: Own) -> Any:
        scores = np.array([example.row["score"] for example in data.splits[Split.TRAIN]], np.float64)
        if scores.min() == scores.max():  # the deviation of equal numbers may be a rounding error
            raise DataProblemError(
                "data/one-number",
                f"all {len(scores):,} training rows have the number {scores[0]:g}: there is nothing to predict",
                where=str(data.splits[Split.TRAIN][0].origin),
                hint="check `data.columns`: another column may hold the number",
            )
        spread = {"mean": float(scores.mean()), "deviation": float(scores.std())}
        return task_class(load_tokenizer(base.folder), max_length=base.max_length, **spread)

    def _before_steps(self) -> None:
        """Starts the head at the least squares of a few rows, so that training begins at a probe and not at noise.

        Source: the head-first start of Kumar et al. 2022, arXiv:2202.10054.
        """
        from sklearn.linear_model import RidgeCV

        count = len(self.encoded[Split.TRAIN])
        chosen = np.unique(np.linspace(0, count - 1, min(count, HEAD_START_ROWS)).round().astype(int))
        self.progress.stage(f"vectors of the frozen base for {len(chosen):,} rows, where the head starts")
        rows = EncodedRows.of([self.encoded[Split.TRAIN][i] for i in chosen.tolist()])
        targets = rows.arrays["targets"].astype(np.float64)
        ridge = RidgeCV(alphas=STRENGTHS).fit(self.vectors(rows), targets)
        head: LinearHead = self.model.head.cpu()
        weight = torch.from_numpy(np.atleast_2d(ridge.coef_)).float()
        head.set_(weight, torch.tensor([float(ridge.intercept_)]))

    def arms(self) -> list[ArmResult]:
        train, validation, test = (self.references(split) for split in Split)
        features = [unit_rows(self.features(split)) for split in Split]
        self.progress.stage("arms that need no fine-tuning: TF-IDF, probe")
        words = tf_idf_features("words", *([_texts(e) for e in self.data.splits[split]] for split in Split))
        decider = self.metrics()[0]
        return [
            mean_number(train, len(validation), len(test)),
            ridge("tf-idf", words[0], train, words[1], validation, words[2], decider),
            ridge("base-probe", features[0], train, features[1], validation, features[2], decider),
        ]

    def prediction_row(self, example: Example, prediction: Row) -> dict[str, Any]:
        return {
            "file": example.origin.file,
            "line": example.origin.line,
            "text": _texts(example),
            "label": self.task.reference(example.row),
            "prediction": self.task.answer(prediction),
        }

    def said(self, example: Example, answer: Any) -> Any:
        return answer


def _texts(example: Example) -> str:
    names: Sequence[str] = ("text", "first", "second")
    return "\n".join(example.row[name] for name in names if name in example.row)
