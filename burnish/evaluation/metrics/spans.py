"""Metrics of answers that are words of a text: a reference is the tuple of all answers that are right.

Compared without case, punctuation and the English articles; of several right answers the nearest counts.

Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from burnish.evaluation.metrics.resampling import Array
from burnish.evaluation.metrics.sums import FromSums, ratio

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def words_of(answer: str) -> list[str]:
    """The words of an answer that count.

    >>> words_of("The Eiffel-Tower, in Paris!")
    ['eiffeltower', 'in', 'paris']
    """
    return _ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split()


class _MeanOverRows(FromSums):
    """The mean of a score of each row, 0..1."""

    def score(self, reference: Sequence[str], prediction: str) -> float:
        raise NotImplementedError

    def sums(self, reference: Sequence[str], prediction: str) -> Sequence[float]:
        return self.score(reference, prediction), 1.0

    def of(self, sums_RS: Array) -> Array:
        return ratio(sums_RS[:, 0], sums_RS[:, 1])


class AnswerExact(_MeanOverRows):
    """Share of the rows whose answer is one of the right ones.

    >>> AnswerExact().score(("Paris",), "paris.")
    1.0
    """

    name: ClassVar[str] = "answer-exact"

    def score(self, reference: Sequence[str], prediction: str) -> float:
        return float(any(words_of(prediction) == words_of(answer) for answer in reference))


class AnswerF1(_MeanOverRows):
    """Mean F1 of the words of answer and reference.

    >>> round(AnswerF1().score(("in Paris", "France"), "Paris"), 3)
    0.667
    """

    name: ClassVar[str] = "answer-f1"

    def score(self, reference: Sequence[str], prediction: str) -> float:
        return max(_f1(words_of(answer), words_of(prediction)) for answer in reference)


def _f1(wanted: Sequence[str], found: Sequence[str]) -> float:
    if not wanted or not found:  # no answer is right only where none is wanted
        return float(wanted == found)
    shared = sum((Counter(wanted) & Counter(found)).values())
    return 2 * shared / (len(wanted) + len(found))


SPAN_METRICS = (AnswerF1, AnswerExact)
