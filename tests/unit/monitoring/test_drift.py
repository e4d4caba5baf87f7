"""All tests of two samples together, and the rows that look new."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from burnish.monitoring.drift import Sample, compare, enough_permutations, newness, vectors_of
from burnish.monitoring.two_sample import PERMUTATIONS, Compared


def sample(count: int, *, seed: int, strange: int = 0) -> Sample:
    """Vectors on a sphere; the last `strange` rows lie elsewhere, are longer and less sure."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 8))
    vectors[count - strange :, 0] += 6
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    length, sure = random.integers(10, 60, size=count).astype(float), random.beta(8, 2, size=count)
    length[count - strange :] += 100
    sure[count - strange :] /= 3
    return Sample(
        vectors.astype(np.float32), {"length": length, "confidence": sure}, {"prediction": ["a", "b"] * (count // 2)}
    )


def test_a_sample_has_as_many_rows_as_its_columns() -> None:
    assert len(sample(40, seed=0)) == 40
    assert len(Sample(None, {"column age": np.ones(3)})) == 3
    assert len(Sample(None)) == 0


def test_everything_both_samples_have_is_tested() -> None:
    without = sample(60, seed=1)
    new = Sample(without.vectors, {"length": without.numbers["length"]})
    found = compare(sample(100, seed=0), new, alpha=0.01, seed=0, further={"quality": Compared(0.0, 0.5)})
    assert [test.of for test in found] == ["inputs", "length", "quality"]


def test_what_has_changed_is_named() -> None:
    found = compare(sample(200, seed=0), sample(100, seed=1, strange=30), alpha=0.01, seed=0)
    assert {test.of for test in found if test.adjusted <= 0.01} == {"inputs", "length", "confidence"}
    assert all(test.adjusted >= test.p_value for test in found)


def test_all_tests_together_alarm_no_more_often_than_stated() -> None:
    pairs = ((sample(60, seed=2 * i), sample(60, seed=2 * i + 1)) for i in range(25))
    alarms = Counter(any(test.adjusted <= 0.1 for test in compare(*pair, alpha=0.1, seed=0)) for pair in pairs)
    assert alarms[True] <= 6  # of 25 at 0.1: more have a chance of one in a hundred


def test_many_tests_get_the_permutations_they_need() -> None:
    assert enough_permutations(4, 0.01) == PERMUTATIONS
    assert enough_permutations(30, 0.01) == 12_000


def test_columns_become_vectors_that_do_not_depend_on_who_is_new() -> None:
    sure = {"confidence": np.array([0.5, 0.9])}  # no column of the table
    before = Sample(
        None, {"column age": np.array([1.0, 5.0]), **sure}, {"column plan": ["a", "b"], "label": ["x", "y"]}
    )
    after = Sample(None, {"column age": np.array([3.0])}, {"column plan": ["a"]})
    rows = np.concatenate(vectors_of(before, after))
    assert rows[:, 0] == pytest.approx([1 / 3, 1, 2 / 3])
    assert np.linalg.norm(rows[0, 1:] - rows[1, 1:]) == pytest.approx(1)
    assert rows[0, 1:] == pytest.approx(rows[2, 1:])


def test_a_missing_number_has_a_rank_of_its_own() -> None:
    before, after = (Sample(None, {"column age": np.array(ages)}) for ages in ([-np.inf, 4.0], [-np.inf, 2.0]))
    assert np.concatenate(vectors_of(before, after))[:, 0] == pytest.approx([0.375, 1, 0.375, 0.75])


def test_rows_that_look_new_are_the_new_ones() -> None:
    new = sample(100, seed=1)
    assert new.vectors is not None
    new.vectors[80:] *= -3  # no reference row has such a length
    found = newness(sample(200, seed=0), new)
    assert 20 <= found.looking_new <= 25
    assert set(found.first(10)) <= set(range(80, 100))
    assert len(found.first(10)) == 10


def test_no_row_looks_new_among_equals() -> None:
    found = newness(sample(200, seed=0), sample(100, seed=1))
    assert found.looking_new <= 5
    assert len(found.first(10)) == found.looking_new


def test_the_distance_is_that_to_the_nearest_reference_row() -> None:
    before, after = (Sample(np.array(rows)) for rows in ([[0.0, 0.0], [4.0, 3.0], [0.0, 1.0]], [[4.0, 0.0]]))
    found = newness(before, after)
    assert found.distances == pytest.approx([3.0])
    assert found.limit == pytest.approx(np.hypot(4.0, 2.0))
    assert found.looking_new == 0
