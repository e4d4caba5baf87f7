"""What the numbers of a monitor mean to people."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.monitoring.drift import Sample
from burnish.monitoring.words import MOST_KINDS, NOTICED, advice, distributions, power, what


def test_tests_have_words_and_columns_their_names() -> None:
    assert what("confidence") == "how sure the model is"
    assert what("column age") == "column age"


def test_few_rows_have_little_power() -> None:
    least = min(NOTICED)
    assert power(least - 1).startswith(f"{least - 1} rows show only larger changes")
    assert f"{NOTICED[least]:.0%}" in power(least - 1)


@pytest.mark.parametrize("rows", [*NOTICED, 10**6])
def test_more_rows_show_smaller_changes(rows: int) -> None:
    assert power(rows).startswith("In our measurements")
    assert "8 times in 10" in power(rows)
    shares = [NOTICED[count] for count in sorted(NOTICED)]
    assert shares == sorted(shares, reverse=True)


def test_each_answer_has_an_advice() -> None:
    said = {
        advice("too few rows", []),
        advice("no drift seen", []),
        advice("drift", ["quality", "inputs"]),
        advice("drift", ["inputs"]),
        advice("drift", ["prediction"]),
    }
    assert len(said) == 5
    assert "train again" in advice("drift", ["quality"])


def test_distributions_are_shares_of_both_samples() -> None:
    before = Sample(None, {"length": np.array([1.0, 2.0, 3.0, -np.inf])}, {"prediction": ["a", "a", "b", "b"]})
    after = Sample(None, {"length": np.array([3.0, 3.0])}, {"prediction": ["b", "c"]})
    found = distributions(before, after)
    length = found["numbers"]["length"]
    assert len(length["edges"]) == len(length["new"]) + 1
    assert sum(length["reference"]) == pytest.approx(0.75)  # one is missing
    assert sum(length["new"]) == pytest.approx(1)
    assert found["kinds"]["prediction"] == [["a", 0.5, 0.0], ["c", 0.0, 0.5], ["b", 0.5, 0.5]]


def test_numbers_that_are_all_missing_are_not_drawn() -> None:
    nothing = Sample(None, {"column age": np.full(3, -np.inf)})
    assert distributions(nothing, nothing) == {"numbers": {}, "kinds": {}}


def test_many_kinds_are_cut_to_those_that_differ_most() -> None:
    before = Sample(None, {}, {"prediction": [str(i) for i in range(40)]})
    after = Sample(None, {}, {"prediction": ["7"] * 40})
    shown = distributions(before, after)["kinds"]["prediction"]
    assert len(shown) == MOST_KINDS
    assert shown[0][0] == "7"
