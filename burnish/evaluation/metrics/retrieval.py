"""Metrics of a search: means over the queries of how early the relevant documents come.

The answer to a query is the places, from 1 on, that relevant documents take among the first DEPTH found, such as
(2, 7); its reference is the number of documents that are relevant to it, at least 1.
"""

from __future__ import annotations

import math
from typing import ClassVar

from burnish.evaluation.metrics.answers import MeanScore

DEPTH = 10  # documents of each search that are looked at
Places = tuple[int, ...]


class RecallAt1(MeanScore):
    """Share of queries whose first document is relevant.

    Where several documents are relevant one of them is enough, as in metric learning: Oh Song et al. 2016,
    arXiv:1511.06452.
    """

    name: ClassVar[str] = "recall@1"
    within: ClassVar[int] = 1

    def score(self, reference: int, prediction: Places) -> float:
        return float(any(place <= self.within for place in prediction))


class RecallAt10(RecallAt1):
    """Share of queries with a relevant document among the first ten.

    >>> RecallAt10().score(3, (4, 9)), RecallAt1().score(3, (4, 9))
    (1.0, 0.0)
    """

    name: ClassVar[str] = "recall@10"
    within: ClassVar[int] = 10


class NdcgAt10(MeanScore):
    """Normalised discounted cumulative gain of the first ten documents: 1 when they are relevant as far as there are
    relevant ones.

    Source: Järvelin & Kekäläinen 2002, ACM TOIS 20:422-446, with gains 0 and 1 and the discount log2(1 + place).

    >>> round(NdcgAt10().score(1, (2,)), 4)
    0.6309
    """

    name: ClassVar[str] = "ndcg@10"

    def score(self, reference: int, prediction: Places) -> float:
        best = range(1, min(reference, DEPTH) + 1)
        return sum(map(_discount, prediction)) / sum(map(_discount, best))


class MrrAt10(MeanScore):
    """Mean reciprocal place of the first relevant document, 0 when there is none among the first ten.

    Source: Voorhees 1999, The TREC-8 question answering track report.
    """

    name: ClassVar[str] = "mrr@10"

    def score(self, reference: int, prediction: Places) -> float:
        return 1 / min(prediction) if prediction else 0.0


def _discount(place: int) -> float:
    return 1 / math.log2(1 + place)


RETRIEVAL_METRICS = (RecallAt1, RecallAt10, NdcgAt10, MrrAt10)
