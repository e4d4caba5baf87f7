"""The arms of token classification that need no fine-tuning."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from burnish.evaluation.arms import ArmResult, unit_rows
from burnish.evaluation.metrics.resampling import Array, value_of
from burnish.method.probe import choose_probe
from burnish.types import Metric

Tokens = Sequence[str]
Tags = tuple[str, ...]
PROBED = 20_000  # tokens that the probe learns from: more change its weights little and its time a lot


def dictionary(
    train: Sequence[Tokens], train_tags: Sequence[Tags], validation: Sequence[Tokens], test: Sequence[Tokens]
) -> ArmResult:
    """The tag that a token most often has in the training rows; of an unknown one the most frequent tag of all."""
    started = time.perf_counter()
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for tokens, tags in zip(train, train_tags, strict=True):
        for token, tag in zip(tokens, tags, strict=True):
            seen[token.casefold()][tag] += 1
    total = sum(seen.values(), Counter[str]())
    usual = _most_frequent(total)
    best = {token: _most_frequent(counts) for token, counts in seen.items()}

    def tagged(sentences: Sequence[Tokens]) -> list[Tags]:
        return [tuple(best.get(token.casefold(), usual) for token in tokens) for tokens in sentences]

    settings = {"tokens": len(best), "otherwise": usual}
    return ArmResult("dictionary", tagged(validation), tagged(test), settings, time.perf_counter() - started)


def majority_tag(train_tags: Sequence[Tags], validation: Sequence[Tokens], test: Sequence[Tokens]) -> ArmResult:
    """Always the most frequent tag: nothing is found."""
    tag = _most_frequent(Counter(tag for tags in train_tags for tag in tags))
    answers = [[tuple([tag] * len(tokens)) for tokens in sentences] for sentences in (validation, test)]
    return ArmResult("majority", answers[0], answers[1], {"tag": tag})


def token_probe(
    features: Sequence[Array],
    tags: Sequence[Sequence[Tags]],
    metric: Metric,
    *,
    seed: int,
) -> ArmResult:
    """Multinomial logistic regression on the frozen base's vector of each token; validation chooses its L2 term.

    Args:
        features: of train, validation and test: (R, D) vectors of all tokens, sentence by sentence.
        tags: of train, validation and test; those of test say only how long its sentences are.
        metric: an empty one, the one that decides.
        seed: of the choice of training tokens, where there are more than PROBED.
    """
    started = time.perf_counter()
    sign = 1.0 if metric.higher_is_better else -1.0
    names = np.array(sorted({tag for part in tags[:2] for sentence in part for tag in sentence}), dtype=object)
    number = {tag: index for index, tag in enumerate(names)}
    train_N, validation_V = (np.array([number[t] for sentence in part for t in sentence]) for part in tags[:2])
    train, validation, test = (unit_rows(part) for part in features)
    chosen = np.arange(len(train_N))
    if len(chosen) > PROBED:
        chosen = np.sort(np.random.default_rng(seed).choice(len(train_N), PROBED, replace=False))

    def sentences(classes_R: Array, part: Sequence[Tags]) -> list[Tags]:
        ends = np.cumsum([len(sentence) for sentence in part])[:-1]
        return [tuple(names[own].tolist()) for own in np.split(classes_R, ends)]

    def score(_: Array, predictions: Array) -> float:
        return sign * value_of(metric, list(tags[1]), sentences(predictions, tags[1]))

    probe = choose_probe(train[chosen], train_N[chosen], validation, validation_V, score, class_count=len(names))
    answers = [
        sentences(probe.logits(part).argmax(axis=1), own) for part, own in ((validation, tags[1]), (test, tags[2]))
    ]
    settings = {"features": "unit norm", "l2": probe.l2, "tokens": len(chosen), "seed": seed}
    return ArmResult("base-probe", answers[0], answers[1], settings, time.perf_counter() - started)


def _most_frequent(counts: Counter[str]) -> str:
    """Of equally frequent ones the first in alphabetical order."""
    return min(counts.items(), key=lambda item: (-item[1], item[0]))[0]
