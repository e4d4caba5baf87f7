"""Extractive question answering at work: sentences of the context are what a span has to beat."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.data.prepare import PreparedData
from burnish.engine.rows import EncodedRows
from burnish.evaluation.arms import ArmResult, unit_rows
from burnish.evaluation.embedding_arms import tf_idf_vectors
from burnish.lifecycle.encoder_bench import Array, EncoderBench
from burnish.lifecycle.own import Own
from burnish.model.load import Base, load_tokenizer
from burnish.model.pooled import PooledEncoder
from burnish.recipe.schema import Recipe
from burnish.types import Encoded, Example, Row, Split

SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
Likeness = Callable[[Sequence[str], Sequence[str]], Array]  # both sides of N pairs -> (N,), more is more alike


@dataclass(slots=True)
class QuestionBench(EncoderBench):
    """A base with a head that finds where an answer starts and ends."""

    @classmethod
    def make_task(cls, recipe: Recipe, base: Base, data: PreparedData, task_class: Any, own: Own) -> Any:
        return task_class(load_tokenizer(base.folder), max_length=base.max_length)

    def arms(self) -> list[ArmResult]:
        self.progress.stage("arms that need no fine-tuning: sentences of the context")
        validation, test = ([e.row for e in self.data.splits[split]] for split in (Split.VALIDATION, Split.TEST))
        known = [text for example in self.data.splits[Split.TRAIN] for text in _sentences(example.row["context"])]

        def words(first: Sequence[str], second: Sequence[str]) -> Array:
            sides = tf_idf_vectors(known, (first, second))
            return np.asarray(sides[0].multiply(sides[1]).sum(axis=1)).ravel()

        return [
            ArmResult("no-answer", [""] * len(validation), [""] * len(test)),
            ArmResult("tf-idf-cosine", _nearest(validation, words), _nearest(test, words)),
            ArmResult("base-similarity", _nearest(validation, self._alike), _nearest(test, self._alike)),
        ]

    def _alike(self, first: Sequence[str], second: Sequence[str]) -> Array:
        """Cosine of the frozen base's own vectors of both texts."""
        base = PooledEncoder(self._frozen_base().encoder, pooling=self.base.pooling, normalize=True).eval()
        sides = [unit_rows(self.vectors(self._alone(texts), base)) for texts in (first, second)]
        return np.asarray((sides[0] * sides[1]).sum(axis=1))

    def _alone(self, texts: Sequence[str]) -> EncodedRows:
        """Texts by themselves, cut at the base's limit."""
        tokenizer = load_tokenizer(self.base.folder)
        tokenizer.enable_truncation(self.base.max_length)
        found = (np.array(encoding.ids, np.int64) for encoding in tokenizer.encode_batch(list(texts)))
        return EncodedRows.of(Encoded(ids, (len(ids),), targets=np.asarray(0)) for ids in found)

    def prediction_row(self, example: Example, prediction: Row) -> dict[str, Any]:
        return {
            "file": example.origin.file,
            "line": example.origin.line,
            "text": f"{example.row['question']}\n{example.row['context']}",
            "label": self.task.reference(example.row)[0],
            "references": list(self.task.reference(example.row)),
            "prediction": prediction["answer"],
            "probability": prediction["probability"],
        }

    def said(self, example: Example, answer: Any) -> Any:
        return answer


def _sentences(context: str) -> list[str]:
    return [found.strip() for found in SENTENCE.findall(context) if found.strip()] or [context]


def _nearest(rows: Sequence[Row], alike: Likeness) -> list[str]:
    """The sentence of each context that is most like the question."""
    sentences = [_sentences(row["context"]) for row in rows]
    flat = [sentence for own in sentences for sentence in own]
    asked = [row["question"] for row, own in zip(rows, sentences, strict=True) for _ in own]
    scores = np.split(alike(asked, flat), np.cumsum([len(own) for own in sentences])[:-1])
    return [own[int(of_own.argmax())] for own, of_own in zip(sentences, scores, strict=True)]
