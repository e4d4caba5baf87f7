"""Two models on the same rows, and how often a difference that is not there is called one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.evaluation.compare import paired_bootstrap, row_wins, sign_test
from burnish.evaluation.metrics.answers import ChrF, MeanLoss
from burnish.evaluation.metrics.classification import Accuracy, MacroF1
from burnish.types import MetricValue, Row


class ShareRight:
    """Accuracy again, as somebody else would write it: without `weighted`."""

    name: ClassVar[str] = "share-right"
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        self.seen += [p["label"] == r["label"] for p, r in zip(predictions, references, strict=True)]

    def merge(self, other: Self) -> None:
        self.seen += other.seen

    def compute(self) -> MetricValue:
        return MetricValue(self.name, sum(self.seen) / len(self.seen), len(self.seen))


REFERENCES = ["a"] * 30 + ["b"] * 30
FIRST = ["a"] * 27 + ["b"] * 30 + ["a"] * 3  # 54 right
SECOND = ["a"] * 20 + ["b"] * 40  # 50 right


def test_the_difference_is_of_the_same_rows() -> None:
    found = paired_bootstrap(Accuracy(), REFERENCES, FIRST, SECOND, resamples=500, seed=1)
    assert found.value == pytest.approx(4 / 60)
    assert found.n == 60
    assert found.low < found.value < found.high


def test_a_model_against_itself_has_no_difference() -> None:
    found = paired_bootstrap(MacroF1(), REFERENCES, FIRST, FIRST, resamples=200, seed=1)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_the_order_of_the_rows_does_not_matter() -> None:
    shuffled = np.random.default_rng(3).permutation(60).tolist()
    again = ([column[i] for i in shuffled] for column in (REFERENCES, FIRST, SECOND))
    expected = paired_bootstrap(MacroF1(), REFERENCES, FIRST, SECOND, resamples=200, seed=1)
    assert paired_bootstrap(MacroF1(), *again, resamples=200, seed=1) == expected


def test_a_metric_that_only_updates_and_computes_gives_the_same() -> None:
    plain = paired_bootstrap(ShareRight(), REFERENCES, FIRST, SECOND, resamples=200, seed=1)
    fast = paired_bootstrap(Accuracy(), REFERENCES, FIRST, SECOND, resamples=200, seed=1)
    assert (plain.value, plain.low, plain.high) == pytest.approx((fast.value, fast.low, fast.high), abs=1e-12)


@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 3), min_size=1, max_size=40))
def test_swapping_the_models_turns_the_sign(rows: list[tuple[str, str, str]]) -> None:
    references, a, b = ([row[i] for row in rows] for i in range(3))
    forth = paired_bootstrap(Accuracy(), references, a, b, resamples=100, seed=0)
    back = paired_bootstrap(Accuracy(), references, b, a, resamples=100, seed=0)
    assert forth.low <= forth.value <= forth.high
    assert back.value == pytest.approx(-forth.value, abs=1e-12)
    assert row_wins(Accuracy(), references, a, b) == row_wins(Accuracy(), references, b, a)[::-1]


def test_rows_are_won_by_the_one_that_gets_them_right() -> None:
    assert row_wins(Accuracy(), ["a", "a", "a", "a"], ["a", "a", "b", "b"], ["a", "b", "a", "c"]) == (1, 1)


def test_rows_are_won_by_the_score_of_a_metric_that_has_one() -> None:
    assert row_wins(ChrF(), ["the cat"] * 3, ["the cap", "dog", "the cat"], ["the dog", "the", "the cat"]) == (1, 1)
    assert row_wins(MeanLoss(), [""] * 2, ["1.5", "2.0"], ["1.0", "2.5"]) == (1, 1)


def test_without_a_row_won_p_is_one() -> None:
    assert sign_test(*row_wins(Accuracy(), ["a"], ["b"], ["c"])) == 1.0
    assert sign_test(*row_wins(Accuracy(), [], [], [])) == 1.0


@pytest.mark.parametrize("n", [60, 400])
def test_no_true_difference_is_seldom_called_one(n: int) -> None:
    """Two models of equal quality: a lower bound above 0 in at most 2.5 % of trials by design, 5 % by promise."""
    random = np.random.default_rng(5)
    trials, called = 300, 0
    for trial in range(trials):
        truth = random.integers(0, 3, n)
        a, b = (np.where(random.random(n) < 0.85, truth, random.integers(0, 3, n)) for _ in range(2))
        columns = ([str(label) for label in column] for column in (truth, a, b))
        found = paired_bootstrap(MacroF1(["0", "1", "2"]), *columns, resamples=200, seed=trial)
        called += found.low > 0
    assert called / trials <= 0.05 + 0.01  # the promise, and one standard error of 300 trials
