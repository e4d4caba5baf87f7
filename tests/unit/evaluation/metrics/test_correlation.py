"""Rank correlation by hand, its interval, and the rows that speak for one of two models."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.compare import row_wins
from burnish.evaluation.metrics.correlation import Spearman, weighted_ranks
from burnish.evaluation.metrics.resampling import measured, resampled, value_of


@pytest.mark.parametrize(
    ("predictions", "wanted"),
    [
        ([0.1, 0.2, 0.3, 0.9], 1.0),  # the order counts, not the numbers
        ([4, 3, 2, 1], -1.0),
        ([1, 2, 4, 3], 0.8),  # 1 - 6 * 2 / 60
        ([7, 7, 7, 7], 0.0),
    ],
)
def test_by_hand(predictions: list[float], wanted: float) -> None:
    assert value_of(Spearman(), [1, 2, 3, 4], predictions) == pytest.approx(wanted)


def test_ranks_of_repeated_and_equal_numbers() -> None:
    """5 twice and 3 once: ranks of 3, 5, 5 are 1, 2.5, 2.5; with the second row twice also 4."""
    values = np.array([5.0, 3.0, 9.0])
    assert weighted_ranks(values, np.array([[2, 1, 0], [1, 2, 1]])).tolist() == [[2.5, 1.0, 3.5], [3.0, 1.5, 4.0]]


def test_a_weighting_is_a_repetition() -> None:
    random = np.random.default_rng(0)
    references, predictions = random.integers(0, 6, 20).tolist(), random.normal(size=20).tolist()
    weights = random.multinomial(20, [1 / 20] * 20, size=5)
    wanted = []
    for weights_N in weights:
        rows = np.repeat(np.arange(20), weights_N)
        wanted.append(value_of(Spearman(), [references[i] for i in rows], [predictions[i] for i in rows]))
    assert resampled(Spearman(), references, predictions, weights) == pytest.approx(wanted)


def test_the_interval_does_not_depend_on_the_order_of_the_rows() -> None:
    random = np.random.default_rng(1)
    references = random.normal(size=60)
    predictions = references + random.normal(size=60)
    order = random.permutation(60)
    found = measured(Spearman(), references.tolist(), predictions.tolist())
    assert found == measured(Spearman(), references[order].tolist(), predictions[order].tolist())
    assert found.n == 60
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_shards_combine() -> None:
    whole, one, other = Spearman(), Spearman(), Spearman()
    predictions, references = [{"label": x} for x in (3.0, 1.0, 2.0)], [{"label": x} for x in (1, 2, 3)]
    whole.update(predictions, references)
    one.update(predictions[:1], references[:1])
    other.update(predictions[1:], references[1:])
    one.merge(other)
    assert one.compute() == whole.compute()


def test_the_rows_that_speak_for_one_of_two_models() -> None:
    """The first model orders all four rows rightly, the second has the last two the wrong way round."""
    assert row_wins(Spearman(), [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], [1, 2, 4, 3]) == (2, 0)
