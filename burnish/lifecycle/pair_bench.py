"""Pairs of texts at work: what the frozen base says of both texts by themselves is what a cross-encoder has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.engine.rows import EncodedRows
from burnish.evaluation.arms import ArmResult, base_probe, majority, tf_idf, unit_rows
from burnish.evaluation.embedding_arms import tf_idf_vectors
from burnish.evaluation.number_arms import from_similarity, mean_number, ridge
from burnish.lifecycle.classifier_bench import ClassifierBench
from burnish.lifecycle.encoder_bench import Array, EncoderBench
from burnish.lifecycle.number_bench import NumberBench
from burnish.task.texts import encoded_text
from burnish.types import Encoded, Split


@dataclass(slots=True)
class PairClassifierBench(ClassifierBench):
    """A base with a head for what one text is to another."""

    def arms(self) -> list[ArmResult]:
        train, validation, test = (self.labels(split) for split in Split)
        texts = [["\n".join(pair) for pair in zip(*_sides(self, split), strict=True)] for split in Split]
        vectors = [_pair_features(*_vectors(self, split)) for split in Split]
        self.progress.stage("arms that need no fine-tuning: TF-IDF, probe")
        decider = self.metrics()[0]
        return [
            majority(train, len(validation), len(test)),
            tf_idf(texts[0], train, texts[1], validation, texts[2], decider),
            base_probe(vectors[0], train, vectors[1], validation, vectors[2], decider, self.recipe.training.seed),
        ]


@dataclass(slots=True)
class PairNumberBench(NumberBench):
    """A base with a head for a number of two texts, whose likeness is an arm of its own."""

    def arms(self) -> list[ArmResult]:
        train, validation, test = (self.references(split) for split in Split)
        both = [_vectors(self, split) for split in Split]
        alike = [(first * second).sum(axis=1) for first, second in both]
        vectors = [_pair_features(*sides) for sides in both]
        self.progress.stage("arms that need no fine-tuning: TF-IDF, likeness, probe")
        known = [text for side in _sides(self, Split.TRAIN) for text in side]
        words = [_shared_words(known, _sides(self, split)) for split in Split]
        decider = self.metrics()[0]
        return [
            mean_number(train, len(validation), len(test)),
            from_similarity("tf-idf-cosine", words[0], train, words[1], words[2]),
            from_similarity("base-similarity", alike[0], train, alike[1], alike[2]),
            ridge("base-probe", vectors[0], train, vectors[1], validation, vectors[2], decider),
        ]


def _sides(bench: EncoderBench, split: Split) -> tuple[list[str], list[str]]:
    """The first and the second texts of a split."""
    rows = [example.row for example in bench.data.splits[split]]
    return [row["first"] for row in rows], [row["second"] for row in rows]


def _vectors(bench: EncoderBench, split: Split) -> tuple[Array, Array]:
    """(N, D) unit vectors of the first and of the second texts, by the frozen base."""
    bench.progress.stage(f"vectors of the frozen base for both texts of the {split.value} rows")
    found = []
    for texts in _sides(bench, split):
        rows = [encoded_text(bench.task.tokenizer, text, targets=np.asarray(0)) for text in texts]
        found.append(unit_rows(bench.vectors(EncodedRows.of(row for row in rows if isinstance(row, Encoded)))))
    return found[0], found[1]


def _pair_features(first: Array, second: Array) -> Array:
    """(N, 2D) products and distances of both vectors, number by number.

    Source: Conneau et al. 2017, arXiv:1705.02364, section 3.1, without the vectors themselves.
    """
    return np.concatenate([first * second, np.abs(first - second)], axis=1)


def _shared_words(known: Sequence[str], sides: tuple[list[str], list[str]]) -> Array:
    """(N,) cosine of the TF-IDF vectors of both texts."""
    first, second = tf_idf_vectors(known, sides)
    return np.asarray(first.multiply(second).sum(axis=1)).ravel()
