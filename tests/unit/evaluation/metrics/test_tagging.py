"""Entity figures by hand; tests/parity compares them with nervaluate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from burnish.evaluation.metrics.tagging import EntityF1, EntityPrecision, EntityRecall, TokenAccuracy, entity_figures

REFERENCES = [("B-per", "I-per", "O", "B-loc"), ("O", "O"), ("B-loc", "O")]
PREDICTIONS = [("B-per", "I-per", "O", "B-per"), ("B-loc", "O"), ("B-loc", "O")]  # right: Per, Loc; found 4; wanted 3


def filled(kind: type[Any], rows: range = range(3)) -> Any:
    metric = kind()
    metric.update([{"label": PREDICTIONS[i]} for i in rows], [{"label": REFERENCES[i]} for i in rows])
    return metric


@pytest.mark.parametrize(
    ("kind", "value"), [(EntityPrecision, 2 / 4), (EntityRecall, 2 / 3), (EntityF1, 4 / 7), (TokenAccuracy, 6 / 8)]
)
def test_values(kind: type[Any], value: float) -> None:
    found = filled(kind).compute()
    assert found.value == pytest.approx(value)
    assert found.n == 3
    assert found.low <= found.value <= found.high


def test_shards_merge_to_the_whole() -> None:
    whole, first = filled(EntityF1), filled(EntityF1, range(1))
    first.merge(filled(EntityF1, range(1, 3)))
    assert first.compute() == whole.compute()


def test_weights_are_repetitions() -> None:
    weights = np.array([[2, 0, 1], [1, 1, 1]])
    repeated = EntityF1()
    for i in (0, 0, 2):
        repeated.update([{"label": PREDICTIONS[i]}], [{"label": REFERENCES[i]}])
    found = EntityF1().weighted(REFERENCES, PREDICTIONS, weights)
    assert found.tolist() == pytest.approx([repeated.compute().value, 4 / 7])


def test_nothing_found_where_nothing_is() -> None:
    metric = EntityF1()
    metric.update([{"label": ("O",)}], [{"label": ("O",)}])
    assert metric.compute().value == 0.0
    assert metric.score(("O",), ("O",)) == 0 > metric.score(("O",), ("B-x",))


def test_figures_of_each_kind() -> None:
    figures = entity_figures(REFERENCES, PREDICTIONS)
    assert {kind: (f.precision.value, f.recall.value, f.support) for kind, f in figures.items()} == {
        "loc": (1 / 2, 1 / 2, 2),
        "per": (1 / 2, 1.0, 1),
    }
