"""The tests against plain sums, their p-values where nothing has changed, and what they see where something has."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from burnish.monitoring.two_sample import Compared, mmd_test, numbers_test, shares_test

Draw = Callable[[np.random.Generator, float], Compared]


def of_vectors(random: np.random.Generator, shift: float) -> Compared:
    before, after = random.normal(size=(40, 3)), random.normal(size=(30, 3)) + shift
    return mmd_test(before, after, seed=int(random.integers(1_000_000)), permutations=99)


def of_numbers(random: np.random.Generator, shift: float) -> Compared:
    before, after = random.normal(size=40), random.normal(size=30) + shift
    return numbers_test(before, after, seed=int(random.integers(1_000_000)), permutations=99)


def of_shares(random: np.random.Generator, shift: float) -> Compared:
    kinds = np.array(list("abcdefgh"))
    before, after = random.integers(8, size=60), np.minimum(random.integers(8, size=60) + round(4 * shift), 7)
    return shares_test(kinds[before].tolist(), kinds[after].tolist(), seed=1, permutations=99)


@pytest.mark.parametrize("draw", [of_vectors, of_numbers, of_shares])
def test_p_values_are_uniform_where_nothing_has_changed(draw: Draw) -> None:
    random = np.random.default_rng(0)
    p_values = np.array([draw(random, 0.0).p_value for _ in range(200)])
    for level in (0.05, 0.2, 0.5):
        expected = 200 * level
        assert abs((p_values <= level).sum() - expected) < 3 * math.sqrt(expected * (1 - level))


@pytest.mark.parametrize("draw", [of_vectors, of_numbers, of_shares])
def test_a_shift_is_seen(draw: Draw) -> None:
    random = np.random.default_rng(1)
    assert sum(draw(random, 1.0).p_value <= 0.05 for _ in range(20)) >= 19


def test_the_discrepancy_is_that_of_a_double_loop() -> None:
    random = np.random.default_rng(2)
    before, after = random.normal(size=(7, 4)), random.normal(size=(5, 4)) + 0.5
    rows = [*before, *after]
    apart = [math.dist(a, b) for i, a in enumerate(rows) for b in rows[i + 1 :]]
    width = float(np.median(apart))

    def mean(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
        return sum(math.exp(-(math.dist(a, b) ** 2) / (2 * width**2)) for a, b in pairs) / len(pairs)

    within = [
        mean([(a, b) for i, a in enumerate(side) for j, b in enumerate(side) if i != j]) for side in (before, after)
    ]
    between = mean([(a, b) for a in before for b in after])
    found = mmd_test(before, after, seed=0, permutations=9)
    assert found.statistic == pytest.approx(sum(within) - 2 * between, abs=1e-5)


def test_equal_vectors_show_nothing() -> None:
    assert mmd_test(np.ones((20, 2)), np.ones((20, 2)), seed=0, permutations=99) == Compared(0.0, 1.0)


def test_a_few_numbers_at_one_end_are_seen_where_the_largest_gap_sees_none() -> None:
    from scipy.stats import ks_2samp

    random = np.random.default_rng(3)
    before = random.normal(size=500)
    after = np.concatenate([random.normal(size=185), np.full(15, -4.0)])  # equal ones
    assert numbers_test(before, after, seed=0).p_value <= 0.01
    assert ks_2samp(before, after).pvalue > 0.05


def test_numbers_that_are_missing_count_as_the_lowest() -> None:
    before, after = np.arange(60.0), np.where(np.arange(60) % 2, -np.inf, np.arange(60.0))
    assert numbers_test(before, after, seed=0).p_value <= 0.001


def test_one_number_for_all_shows_nothing() -> None:
    assert numbers_test(np.ones(20), np.ones(30), seed=0) == Compared(0.0, 1.0)


def test_the_statistic_of_shares_is_chi_squared() -> None:
    from scipy.stats import chi2_contingency

    before, after = [*("a" * 30), *("b" * 20), *("c" * 5)], [*("a" * 10), *("b" * 25), *("d" * 3)]
    counts = [[row.count(kind) for kind in "abcd"] for row in (before, after)]
    found = shares_test(before, after, seed=0)
    expected = chi2_contingency(counts, correction=False)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.002)


def test_one_kind_for_all_shows_nothing() -> None:
    assert shares_test(["a"] * 9, ["a"] * 9, seed=0) == Compared(0.0, 1.0)


def test_the_same_seed_gives_the_same_p_value() -> None:
    first, second = (of_vectors(np.random.default_rng(4), 0.2) for _ in range(2))
    assert first == second
