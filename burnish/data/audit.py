"""The label audit: which rows people look at, what they answered, and what follows from it.

A random part of the queue says how many labels are wrong; a suspicious part finds as many of these as it can. The two
come mixed, so that whoever answers cannot tell them apart.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from burnish.data.bundles import bundles
from burnish.data.clean import LABEL
from burnish.data.deduplicate import loose_form, normal_form
from burnish.data.near_duplicates import near_duplicate_clusters
from burnish.data.repair import row_key
from burnish.types import Example

Array = np.ndarray[Any, Any]
Sampled = Literal["random", "suspicious"]

SHARE = 0.1  # of the rows in each part of the queue
FEWEST = 50  # rows of the random part, where there are so many: under that the interval says little
FOLDS = 5
_WORDS = r"\w+|[^\w\s]+"  # a word or a run of signs: every text that is not blank has one, in any script


@dataclass(frozen=True, slots=True)
class Item:
    """A row to look at.

    Attributes:
        key: `row_key` of the row.
        sampled: why it is in the queue; not shown.
        suggestions: the other labels, the likeliest first.
    """

    key: str
    example: Example
    sampled: Sampled
    suggestions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said about one row: a label (the old one to keep it), None when none fits, or unsure."""

    key: str
    annotator: str
    sampled: Sampled
    before: str
    label: str | None
    unsure: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "row": self.key,
            "annotator": self.annotator,
            "sampled": self.sampled,
            "before": self.before,
            "label": self.label,
            "unsure": self.unsure,
        }


def label_scores(examples: Sequence[Example], labels: Sequence[str], seed: int) -> Array:
    """(N, C) how well each label fits each row, from models that have not seen the row.

    A linear SVM on TF-IDF of words (1-2-grams) learns from four fifths of the rows and scores the fifth one; rows that
    say almost the same are in one fifth. A label that the four fifths lack scores lowest.

    Source: out-of-fold scores as in confident learning, Northcutt et al. 2021, arXiv:1911.00068.
    Cost: five vectorisations of the texts, and five linear SVMs for each class (one for two classes).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    texts = [loose_form(example.row) for example in examples]
    together = bundles(examples, clusters=near_duplicate_clusters(texts).tolist())
    fold = np.array([_digest(texts[first], seed)[0] % FOLDS for first in together])
    class_of = {label: index for index, label in enumerate(labels)}
    targets = np.array([class_of[str(example.row[LABEL])] for example in examples])
    scores = np.zeros((len(examples), len(labels)))
    for held_out in range(FOLDS):
        test, train = np.flatnonzero(fold == held_out), np.flatnonzero(fold != held_out)
        known = np.unique(targets[train])
        if not len(test) or len(known) < 2:
            continue
        vectorizer = TfidfVectorizer(token_pattern=_WORDS, ngram_range=(1, 2), sublinear_tf=True)
        features = vectorizer.fit_transform([texts[i] for i in train])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the order of the scores is settled long before
            classifier = LinearSVC(random_state=0).fit(features, targets[train])
        found = classifier.decision_function(vectorizer.transform([texts[i] for i in test]))
        found = np.stack([-found, found], axis=1) if found.ndim == 1 else found
        scores[test] = found.min() - 1.0
        scores[np.ix_(test, known)] = found
    return scores


def audit_queue(examples: Sequence[Example], labels: Sequence[str], scores: Array, seed: int) -> list[Item]:
    """The rows to look at: a tenth of all rows at random, evenly over the labels, and the most suspicious others.

    Suspicious is a row whose label scores lower than another; at most a tenth of the rows, the largest gap first.
    Both parts keep their share along the queue, so that somebody who stops early has seen some of each.

    Args:
        scores: (N, C), as `label_scores` gives them.
    """
    class_of = {label: index for index, label in enumerate(labels)}
    rows = np.arange(len(examples))
    own = np.array([class_of[str(example.row[LABEL])] for example in examples])
    others = scores.copy()
    others[rows, own] = -np.inf
    gap = others.max(axis=1) - scores[rows, own]
    random = _systematic(examples, max(round(SHARE * len(examples)), min(FEWEST, len(examples))), seed)
    chosen = set(random)
    ranked = [int(i) for i in np.argsort(-gap, kind="stable") if gap[i] > 0 and int(i) not in chosen]
    suspicious = ranked[: round(SHARE * len(examples))]
    ranks = [
        (i / len(part), which, row) for which, part in enumerate((random, suspicious)) for i, row in enumerate(part)
    ]
    kinds: tuple[Sampled, Sampled] = ("random", "suspicious")
    return [
        Item(
            row_key(examples[row].row),
            examples[row],
            kinds[which],
            tuple(labels[k] for k in np.argsort(-others[row], kind="stable") if k != own[row]),
        )
        for _, which, row in sorted(ranks)
    ]


def _systematic(examples: Sequence[Example], size: int, seed: int) -> list[int]:
    """So many rows, in random order: equally spaced over the rows ordered by label and hash, from a random start.

    Every row has the same chance and every label its share, give or take one row (systematic sampling).
    """
    digests = [_digest(normal_form(example.row), seed) for example in examples]
    order = sorted(range(len(examples)), key=lambda i: (str(examples[i].row[LABEL]), digests[i]))
    start = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=6).digest()) / 2**48
    step = len(examples) / size
    return sorted((order[int((start + k) * step)] for k in range(size)), key=digests.__getitem__)


def _digest(text: str, seed: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=str(seed).encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Findings:
    """What the answers of all people say together.

    Attributes:
        answered: rows with an answer of somebody who was sure.
        wrong: of the random and of the suspicious rows, how many have another label than before, and of how many.
        corrections: key -> new label, None where none fits; by majority, rows without one are left out.
        disputed: keys of rows without a majority.
        agreement: (annotator, annotator, rows both answered, Cohen's kappa).
    """

    answered: int
    wrong: Mapping[Sampled, tuple[int, int]]
    corrections: Mapping[str, str | None]
    disputed: Sequence[str]
    agreement: Sequence[tuple[str, str, int, float]]


def settle(answers: Iterable[Answer]) -> Findings:
    """Each person's last word on each row, then the majority of those who were sure."""
    last: dict[tuple[str, str], Answer] = {(answer.key, answer.annotator): answer for answer in answers}
    by_row: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in last.values():
        if not answer.unsure:
            by_row[answer.key].append(answer)
    wrong: dict[Sampled, tuple[int, int]] = {"random": (0, 0), "suspicious": (0, 0)}
    corrections: dict[str, str | None] = {}
    disputed = []
    for key, given in by_row.items():
        (label, count), *others = Counter(answer.label for answer in given).most_common()
        if others and others[0][1] == count:
            disputed.append(key)
            continue
        first = given[0]
        changed, seen = wrong[first.sampled]
        wrong[first.sampled] = changed + (label != first.before), seen + 1
        if label != first.before:
            corrections[key] = label
    return Findings(len(by_row), wrong, corrections, disputed, _agreement(by_row.values()))


def _agreement(rows: Iterable[Sequence[Answer]]) -> list[tuple[str, str, int, float]]:
    pairs: defaultdict[tuple[str, str], list[tuple[str | None, str | None]]] = defaultdict(list)
    for given in rows:
        for one, other in itertools.combinations(sorted(given, key=lambda answer: answer.annotator), 2):
            pairs[one.annotator, other.annotator].append((one.label, other.label))
    return [(*names, len(labels), cohen_kappa(labels)) for names, labels in sorted(pairs.items())]


def cohen_kappa(pairs: Sequence[tuple[str | None, str | None]]) -> float:
    """Agreement of two people beyond chance: 1 when they always agree, 0 when as often as chance would have it.

    Two people who gave one and the same label to everything agree (1), though chance alone would have done it.

    Source: Cohen 1960, A Coefficient of Agreement for Nominal Scales.

    >>> round(cohen_kappa([("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15), 3)
    0.4
    """
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(first[label] * second[label] for label in first) / n**2
    return 1.0 if chance == 1.0 else (observed - chance) / (1.0 - chance)
