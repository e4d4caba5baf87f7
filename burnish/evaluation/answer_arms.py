"""The arms of a language model that need no fine-tuning and no language model either: answers taken from the rows.

The other arms, the base as it comes and the base with examples in its prompt, answer through `serving.answer`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from burnish.evaluation.arms import WORDS, ArmResult

BLOCK = 512  # prompts compared with all training prompts at once


def most_frequent_answer(train_answers: Sequence[str], n_val: int, n_test: int) -> ArmResult:
    """Always the most frequent answer of the training rows; of equally frequent ones the first by letters."""
    answer, count = min(Counter(train_answers).items(), key=lambda item: (-item[1], item[0]))
    return ArmResult("majority", [answer] * n_val, [answer] * n_test, {"train_rows": count})


def copied_source(val_sources: Sequence[str], test_sources: Sequence[str]) -> ArmResult:
    """The source itself: what stays when nothing is done. Names and numbers are often right already."""
    return ArmResult("copy", list(val_sources), list(test_sources))


class Neighbours:
    """The training prompts most like a prompt, by TF-IDF of words.

    Args:
        prompts: of the training rows.
    """

    def __init__(self, prompts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(token_pattern=WORDS, ngram_range=(1, 2), sublinear_tf=True)
        self._known = self._vectorizer.fit_transform(prompts)

    def of(self, prompts: Sequence[str], count: int) -> list[list[int]]:
        """For each prompt the numbers of the `count` nearest training rows, the nearest first."""
        found: list[list[int]] = []
        for start in range(0, len(prompts), BLOCK):
            asked: Any = self._vectorizer.transform(prompts[start : start + BLOCK])
            cosine = (asked @ self._known.T).toarray()
            found += np.argsort(-cosine, axis=1, kind="stable")[:, :count].tolist()
        return found


def nearest_answer(
    near: Neighbours, train_answers: Sequence[str], val_prompts: Sequence[str], test_prompts: Sequence[str]
) -> ArmResult:
    """The answer of the training row whose prompt is most alike: what a search would give."""
    val, test = ([train_answers[i] for (i,) in near.of(prompts, 1)] for prompts in (val_prompts, test_prompts))
    return ArmResult("nearest-answer", val, test, {"similarity": "TF-IDF cosine"})
