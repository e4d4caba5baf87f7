"""Metrics of texts written for other texts: corpus-level chrF and BLEU, and ROUGE-L.

A row has one reference, or a tuple of several that are all right. A corpus score is computed from counts that are
summed over the rows first, as the field reports it; a resample therefore needs the counts of each row and nothing else.

Shapes: R weightings of the rows, S sums, O orders of n-grams.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from burnish.evaluation.metrics.answers import BETA, ORDER, MeanScore
from burnish.evaluation.metrics.resampling import Array
from burnish.evaluation.metrics.sums import FromSums, ratio

BLEU_ORDER = 4
CACHED = 1 << 15  # counts of rows: each resampling and each comparison asks for those of the same rows again
_SPLIT = (  # the tokenizer 13a of mteval: symbols stand alone, point and comma unless they are within a number
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_WORD = re.compile(r"\w+")

References = str | tuple[str, ...]


def all_of(reference: References) -> tuple[str, ...]:
    """The references of a row: one text, or several."""
    return (reference,) if isinstance(reference, str) else tuple(reference)


class CorpusScore(FromSums):
    """A metric of counts that are summed over the rows before anything is divided."""

    def score(self, reference: References, prediction: str) -> float:
        """The score of a corpus of this one row, 0..1."""
        return float(self.of(np.array([self.sums(reference, prediction)], np.float64))[0])


class CorpusChrF(CorpusScore):
    """Overlap of character n-grams of all rows together; of several references of a row the best one counts.

    Unlike `chrf`, the mean of each row's own score, long rows count more here. sacrebleu prints it times 100.

    Source: Popović 2015, chrF: character n-gram F-score for automatic MT evaluation (chrF2, n up to 6, whitespace left
    out), as sacrebleu sums it (Post 2018, W18-6319).

    >>> CorpusChrF().score("the cat", "the cat"), round(CorpusChrF().score(("the cat sat", "a cat"), "a dog"), 3)
    (1.0, 0.062)
    """

    name: ClassVar[str] = "corpus-chrf"

    def sums(self, reference: References, prediction: str) -> Sequence[float]:
        """n-grams said, wanted and common, for each n."""
        return _character_counts(all_of(reference), prediction)

    def of(self, sums_RS: Array) -> Array:
        return _f_score(sums_RS)


@lru_cache(maxsize=CACHED)
def _character_counts(references: tuple[str, ...], prediction: str) -> tuple[int, ...]:
    """The counts against the reference that is nearest by them."""
    said = [_grams("".join(prediction.split()), n) for n in range(1, ORDER + 1)]
    found = [_counts_against(reference, said) for reference in references]
    return tuple(found[int(_f_score(np.array(found, np.float64)).argmax())])


def _counts_against(reference: str, said: Sequence[Counter[Hashable]]) -> list[int]:
    characters, counts = "".join(reference.split()), list[int]()
    for n, in_said in enumerate(said, start=1):
        in_wanted = _grams(characters, n)
        # what is said counts only where the reference is long enough to have such n-grams
        counts += [in_said.total() if in_wanted else 0, in_wanted.total(), (in_said & in_wanted).total()]
    return counts


def _f_score(sums_RS: Array) -> Array:
    """(R,) from the mean precision and the mean recall of the orders that both sides have."""
    said_RO, wanted_RO, common_RO = (sums_RS[:, k::3] for k in range(3))
    counted_RO = (said_RO > 0) & (wanted_RO > 0)
    orders_R = np.maximum(counted_RO.sum(axis=1), 1)
    precision_R = (common_RO / np.maximum(said_RO, 1) * counted_RO).sum(axis=1) / orders_R
    recall_R = (common_RO / np.maximum(wanted_RO, 1) * counted_RO).sum(axis=1) / orders_R
    return ratio((1 + BETA**2) * precision_R * recall_R, BETA**2 * precision_R + recall_R)


class Bleu(CorpusScore):
    """Share of n-grams of words that a reference has too, up to four, times a penalty for texts that are too short.

    sacrebleu prints it times 100, with tokenizer 13a and smoothing "exp".

    Source: Papineni et al. 2002 (P02-1040); Post 2018 (W18-6319).

    >>> Bleu().score("the cat sat on the mat", "the cat sat on the mat")
    1.0
    """

    name: ClassVar[str] = "bleu"

    def sums(self, reference: References, prediction: str) -> Sequence[float]:
        """Words said, words of the reference nearest in length, and for each n the n-grams in common and said."""
        return _word_counts(all_of(reference), prediction)

    def of(self, sums_RS: Array) -> Array:
        return np.array([_bleu(row[0], row[1], row[2::2], row[3::2]) for row in sums_RS.tolist()], np.float64)


@lru_cache(maxsize=CACHED)
def _word_counts(references: tuple[str, ...], prediction: str) -> tuple[int, ...]:
    said = words_13a(prediction)
    wanted = [words_13a(reference) for reference in references]
    counts = [len(said), min((abs(len(words) - len(said)), len(words)) for words in wanted)[1]]
    for n in range(1, BLEU_ORDER + 1):
        in_said, most = _grams(said, n), Counter[Hashable]()
        for words in wanted:
            most |= _grams(words, n)
        counts += [(in_said & most).total(), in_said.total()]
    return tuple(counts)


def _bleu(said: float, wanted: float, common: Sequence[float], possible: Sequence[float]) -> float:
    """BLEU of summed counts; an order without a match counts half of one, then a quarter, and so on."""
    if not any(common):
        return 0.0
    penalty = 1.0 if said >= wanted else float(np.exp(1 - wanted / said))
    product, halves = 1.0, 1.0
    for matches, all_said in zip(common, possible, strict=True):
        if not all_said:  # too short for n-grams of this order
            return 0.0
        if not matches:
            halves *= 2
        product *= matches / all_said if matches else 1 / (halves * all_said)
    return float(penalty * product ** (1 / BLEU_ORDER))


def words_13a(text: str) -> list[str]:
    """The words that BLEU counts.

    >>> words_13a('It costs 1,000.50 - "today".')
    ['It', 'costs', '1,000.50', '-', '"', 'today', '"', '.']
    """
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = f" {text} "
    for pattern, apart in _SPLIT:
        text = pattern.sub(apart, text)
    return text.split()


class RougeL(MeanScore):
    """The longest common subsequence of words as F1, mean over the rows; of several references the best one counts.

    Words are runs of letters and digits of any script, without case; not stemmed.

    Source: Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries (W04-1013), ROUGE-L of a sentence.

    >>> round(RougeL().score("the cat sat on the mat", "The cat on a mat."), 3)
    0.727
    """

    name: ClassVar[str] = "rouge-l"

    def score(self, reference: Any, prediction: str) -> float:
        said = _WORD.findall(prediction.casefold())
        return max(_subsequence_f1(_WORD.findall(text.casefold()), said) for text in all_of(reference))


def _subsequence_f1(wanted: Sequence[str], said: Sequence[str]) -> float:
    if not wanted or not said:
        return 0.0
    lengths = [0] * (len(said) + 1)  # of the longest common subsequence with each beginning of what is said
    for word in wanted:
        diagonal = 0
        for place, other in enumerate(said, start=1):
            above = lengths[place]
            lengths[place] = diagonal + 1 if word == other else max(above, lengths[place - 1])
            diagonal = above
    return 2 * lengths[-1] / (len(wanted) + len(said))


def _grams(items: Sequence[Hashable], n: int) -> Counter[Hashable]:
    if isinstance(items, str):
        return Counter(items[i : i + n] for i in range(len(items) - n + 1))
    return Counter(tuple(items[i : i + n]) for i in range(len(items) - n + 1))


TEXT_METRICS = (CorpusChrF, Bleu, RougeL)
