"""Metrics of written answers against a reference: the mean over rows of a score in 0..1.

Shapes: N rows, R resamples.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from burnish.evaluation.metrics.resampling import Array, bias_corrected_interval, draws, wilson_interval
from burnish.types import MetricValue, Row

RESAMPLES = 1_000
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_MARKS = re.compile(r"</?tool_calls?>|\[TOOL_CALLS\]")  # what templates put around calls of tools
ORDER, BETA = 6, 2.0  # chrF: character n-grams up to six, recall twice as important (Popović 2015)


class MeanScore:
    """A metric that is the mean of a score of each row."""

    name: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self.references: list[Any] = []
        self.predictions: list[str] = []

    def score(self, reference: str, prediction: str) -> float:
        """0..1, 1 for an answer as good as the reference."""
        raise NotImplementedError

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        self.predictions += [row["label"] for row in predictions]
        self.references += [row["label"] for row in references]

    def merge(self, other: Self) -> None:
        self.predictions += other.predictions
        self.references += other.references

    def compute(self) -> MetricValue:
        scores_N = self._scores(self.references, self.predictions)
        n, value = len(scores_N), float(scores_N.mean())
        if set(np.unique(scores_N)) <= {0.0, 1.0}:
            low, high = wilson_interval(int(scores_N.sum()), n)
        else:
            kinds_N, counts_N = np.unique(scores_N, return_counts=True)
            blocks = [block_RN @ kinds_N / n for block_RN in draws(counts_N, RESAMPLES, 0)]
            low, high = bias_corrected_interval(np.concatenate(blocks), value)
        return MetricValue(self.name, value, n, low, high, self.higher_is_better)

    def weighted(self, references: Sequence[Any], predictions: Sequence[str], weights_RN: Array) -> Array:
        """The metric when row i counts `weights_RN[r, i]` times, (R,) float64."""
        return np.asarray(weights_RN @ self._scores(references, predictions) / weights_RN.sum(axis=1))

    def _scores(self, references: Sequence[Any], predictions: Sequence[str]) -> Array:
        pairs = zip(references, predictions, strict=True)
        return np.array([self.score(reference, prediction) for reference, prediction in pairs], dtype=np.float64)


class ExactMatch(MeanScore):
    """Whether an answer is the reference, whitespace aside.

    >>> ExactMatch().score("2 May 2024", " 2  May 2024 ")
    1.0
    """

    name: ClassVar[str] = "exact-match"

    def score(self, reference: str, prediction: str) -> float:
        return float(reference.split() == prediction.split())


class FinalNumber(MeanScore):
    """Whether the last number of an answer is that of the reference; behind "####" where there is such a mark.

    >>> FinalNumber().score("9 apples. #### 1,000", "That makes 1000.0")
    1.0
    """

    name: ClassVar[str] = "final-number"

    def score(self, reference: str, prediction: str) -> float:
        wanted = final_number(reference)
        return float(wanted is not None and wanted == final_number(prediction))


def final_number(text: str) -> float | None:
    """The last number of a text, or the first behind its last "####"."""
    _, mark, behind = text.rpartition("####")
    found = _NUMBER.findall(behind)
    if not found:
        return None
    digits = (found[0] if mark else found[-1]).replace(",", "")
    return float(digits) if len(digits) < 300 else None


class JsonMatch(MeanScore):
    """Whether an answer is JSON of the same value as the reference; of several values, line by line, the same ones.

    >>> JsonMatch().score('{"name": "f", "arguments": {"a": 1}}', '{"arguments":{"a":1.0},"name":"f"}')
    1.0
    """

    name: ClassVar[str] = "json-match"

    def score(self, reference: str, prediction: str) -> float:
        wanted = json_values(reference)
        return float(wanted is not None and wanted == json_values(prediction))


def json_values(text: str) -> list[Any] | None:
    """The objects and arrays a text consists of, one after the other; None when it holds anything else."""
    decoder, values, place = json.JSONDecoder(), [], 0
    stripped = _MARKS.sub(" ", text).strip()
    while place < len(stripped):
        try:
            value, place = decoder.raw_decode(stripped, place)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict | list):
            return None
        values.append(value)
        place += len(stripped[place:]) - len(stripped[place:].lstrip())
    return values or None


class ChrF(MeanScore):
    """Overlap of character n-grams, mean over the rows of the sentence score.

    Source: Popović 2015, chrF: character n-gram F-score for automatic MT evaluation (chrF2, n up to 6, whitespace
    left out), the mean of precision and of recall over n and then their F-score.

    >>> ChrF().score("the cat", "the cat"), round(ChrF().score("the cat sat", "a dog"), 2)
    (1.0, 0.03)
    """

    name: ClassVar[str] = "chrf"

    def score(self, reference: str, prediction: str) -> float:
        wanted, said = "".join(reference.split()), "".join(prediction.split())
        precisions, recalls = [], []
        for n in range(1, ORDER + 1):
            in_wanted, in_said = _grams(wanted, n), _grams(said, n)
            if not in_wanted or not in_said:
                continue
            common = (in_wanted & in_said).total()
            precisions.append(common / in_said.total())
            recalls.append(common / in_wanted.total())
        if not precisions:
            return float(wanted == said)
        precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
        if precision + recall == 0:
            return 0.0
        return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def _grams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


class MeanLoss(MeanScore):
    """Nats per token of texts, given as the prediction; how well texts of this kind are foreseen."""

    name: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    def score(self, reference: str, prediction: str) -> float:
        return float(prediction)


class RewardAccuracy(ExactMatch):
    """Share of pairs whose better answer has the higher reward; ties are wrong."""

    name: ClassVar[str] = "reward-accuracy"


ANSWER_METRICS = (ExactMatch, FinalNumber, JsonMatch, ChrF, MeanLoss, RewardAccuracy)
SHORT_WORDS = 6  # of the median answer, up to which one expects it word for word
MOSTLY = 0.9


def default_answer_metric(answers: Sequence[str]) -> tuple[str, str]:
    """The metric that answers of this kind can be checked with, and why.

    >>> default_answer_metric(['{"a": 1}', '{"a": 2}'])
    ('json-match', 'the answers are JSON')
    """
    share = max(1, len(answers))
    if sum(json_values(answer) is not None for answer in answers) >= MOSTLY * share:
        return JsonMatch.name, "the answers are JSON"
    if sum("####" in answer and final_number(answer) is not None for answer in answers) >= MOSTLY * share:
        return FinalNumber.name, "the answers end with #### and a number"
    words = sorted(len(answer.split()) for answer in answers)
    if words and words[len(words) // 2] <= SHORT_WORDS:
        return ExactMatch.name, f"the answers are short: {words[len(words) // 2]} words in the middle"
    return ChrF.name, "the answers are texts: character overlap with the reference, which is a weak judge"
