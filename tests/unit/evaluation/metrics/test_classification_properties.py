"""Shards merge to the whole, and weighting rows is the same as repeating them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.evaluation.metrics import create_metric
from burnish.evaluation.metrics.resampling import resampled, value_of
from burnish.types import Row

LABELS = ["a", "b", "c", "never"]
pairs = st.tuples(st.sampled_from(LABELS[:3]), st.sampled_from(LABELS[:3]))
names = st.sampled_from(["accuracy", "macro-f1"])


def as_rows(labels: list[str]) -> list[Row]:
    return [{"label": label} for label in labels]


@given(st.lists(pairs, min_size=1, max_size=40), st.integers(0, 40), names)
def test_merged_shards_equal_the_whole(rows: list[tuple[str, str]], cut: int, name: str) -> None:
    references, predictions = [row[0] for row in rows], [row[1] for row in rows]
    whole, left, right = (create_metric(name, LABELS) for _ in range(3))
    whole.update(as_rows(predictions), as_rows(references))
    left.update(as_rows(predictions[:cut]), as_rows(references[:cut]))
    right.update(as_rows(predictions[cut:]), as_rows(references[cut:]))
    left.merge(right)
    assert left.compute() == whole.compute()


@given(st.lists(st.tuples(pairs, st.integers(0, 3)), min_size=1, max_size=30), names)
def test_weighting_a_row_is_repeating_it(rows: list[tuple[tuple[str, str], int]], name: str) -> None:
    repeated = [pair for pair, weight in rows for _ in range(weight)]
    if not repeated:
        return
    # Without a label set, and with every row weighted, no class can be missed: the plain definition holds.
    metric = create_metric(name, sorted({label for pair in repeated for label in pair}))
    weights = np.array([[weight for _, weight in rows]])
    weighted = resampled(metric, [pair[0] for pair, _ in rows], [pair[1] for pair, _ in rows], weights)
    whole = value_of(metric, [reference for reference, _ in repeated], [guess for _, guess in repeated])
    assert weighted[0] == pytest.approx(whole, abs=1e-12)
