"""Metrics of tagged sentences: answers are tuples of tags, one for each token.

An entity is right when its kind, its first and its last token are: the strict scheme of SemEval-2013 task 9.1 and the
evaluation of CoNLL-2003. Rows are sentences, so intervals are over sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from burnish.data.tags import spans
from burnish.evaluation.metrics.classification import ClassFigures, figures_of
from burnish.evaluation.metrics.resampling import Array
from burnish.evaluation.metrics.sums import FromSums, ratio

Tags = Sequence[str]


class _Entities(FromSums):
    """Right, found and existing entities, counted per sentence."""

    def sums(self, reference: Tags, prediction: Tags) -> Sequence[float]:
        wanted, found = set(spans(reference)), set(spans(prediction))
        return len(wanted & found), len(found), len(wanted)

    def score(self, reference: Tags, prediction: Tags) -> float:
        """Of one sentence: entities that are right, minus those that are made up or passed over."""
        right, found, wanted = self.sums(reference, prediction)
        return 3 * right - found - wanted


class EntityF1(_Entities):
    """Harmonic mean of entity precision and recall over all entities of all kinds.

    >>> metric = EntityF1()
    >>> metric.update([{"label": ("B-per", "O", "B-loc")}], [{"label": ("B-per", "O", "O")}])
    >>> round(metric.compute().value, 3)
    0.667
    """

    name: ClassVar[str] = "entity-f1"

    def of(self, sums_RS: Array) -> Array:
        return ratio(2 * sums_RS[:, 0], sums_RS[:, 1] + sums_RS[:, 2])


class EntityPrecision(_Entities):
    """Share of the entities found that are right."""

    name: ClassVar[str] = "entity-precision"

    def of(self, sums_RS: Array) -> Array:
        return ratio(sums_RS[:, 0], sums_RS[:, 1])


class EntityRecall(_Entities):
    """Share of the existing entities that are found."""

    name: ClassVar[str] = "entity-recall"

    def of(self, sums_RS: Array) -> Array:
        return ratio(sums_RS[:, 0], sums_RS[:, 2])


class TokenAccuracy(FromSums):
    """Share of the tokens with the right tag. Where most tokens are outside of everything, it hides what is missed."""

    name: ClassVar[str] = "token-accuracy"

    def sums(self, reference: Tags, prediction: Tags) -> Sequence[float]:
        return sum(map(str.__eq__, reference, prediction)), len(reference)

    def of(self, sums_RS: Array) -> Array:
        return ratio(sums_RS[:, 0], sums_RS[:, 1])

    def score(self, reference: Tags, prediction: Tags) -> float:
        """Right tags of one sentence."""
        return self.sums(reference, prediction)[0]


def entity_figures(references: Sequence[Tags], predictions: Sequence[Tags]) -> Mapping[str, ClassFigures]:
    """Precision, recall and F1 of every kind of entity, with Wilson intervals over entities; support: entities."""
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for reference, prediction in zip(references, predictions, strict=True):
        there, seen = set(spans(reference)), set(spans(prediction))
        right.update(kind for kind, _, _ in there & seen)
        found.update(kind for kind, _, _ in seen)
        wanted.update(kind for kind, _, _ in there)
    return {kind: figures_of(right[kind], found[kind], wanted[kind]) for kind in sorted(wanted | found)}


TAGGING_METRICS = (EntityF1, EntityPrecision, EntityRecall, TokenAccuracy)
