"""Entity precision, recall and F1 against nervaluate's strict scheme."""

from __future__ import annotations

import random

import pytest
from nervaluate.evaluator import Evaluator

from burnish.evaluation.metrics.resampling import value_of
from burnish.evaluation.metrics.tagging import EntityF1, EntityPrecision, EntityRecall

KINDS = ("person", "location", "group")


def sentences(seed: int) -> list[tuple[str, ...]]:
    """60 well-formed BIO sentences."""
    chance = random.Random(seed)
    found = []
    for _ in range(60):
        tags: list[str] = []
        while len(tags) < 12:
            kind = chance.choice(KINDS)
            tags += chance.choice([["O"], ["O"], [f"B-{kind}"], [f"B-{kind}", f"I-{kind}"]])
        found.append(tuple(tags[:12]))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_entities(seed: int) -> None:
    references, predictions = sentences(seed), sentences(seed + 100)
    mixed = [r if i % 2 else p for i, (r, p) in enumerate(zip(references, predictions, strict=True))]
    found = Evaluator(
        [list(tags) for tags in references], [list(tags) for tags in mixed], tags=list(KINDS), loader="list"
    )
    strict = found.evaluate()["overall"]["strict"]
    assert value_of(EntityPrecision(), references, mixed) == pytest.approx(strict.precision)
    assert value_of(EntityRecall(), references, mixed) == pytest.approx(strict.recall)
    assert value_of(EntityF1(), references, mixed) == pytest.approx(strict.f1)
