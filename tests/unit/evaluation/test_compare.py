"""Two models on the same rows: differences, tests, and rows won."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.evaluation.compare import (
    RIGHT_OR_WRONG,
    compared,
    holm,
    paired_bootstrap,
    paired_gain,
    permutation_test,
    row_wins,
    sign_test,
    significance,
)
from burnish.evaluation.metrics import METRICS
from burnish.evaluation.metrics.answers import ChrF, MeanLoss
from burnish.evaluation.metrics.classification import Accuracy, MacroF1
from burnish.evaluation.metrics.regression import MeanAbsoluteError
from burnish.evaluation.metrics.resampling import value_of
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


ANSWERS = {  # of each metric of right and wrong rows: a reference, a right answer and a wrong one
    "subset-accuracy": (("a",), ("a",), ("b",)),
    "answer-exact": (("red", "dark red"), "red", "blue"),
    "recall@1": (1, (1,), (2,)),
    "recall@10": (1, (7,), ()),
    "json-match": ('{"a": 1}', '{"a": 1.0}', "no"),
}


@pytest.mark.parametrize("name", RIGHT_OR_WRONG)
def test_a_share_of_right_rows_differs_by_the_rows_that_one_is_right_on(name: str) -> None:
    reference, right, wrong = ANSWERS.get(name, ("7", "7", "8"))
    metric = METRICS[name]()
    rows = [reference] * 50
    a, b = [right] * 40 + [wrong] * 10, [right] * 30 + [wrong] * 15 + [right] * 5
    found = paired_gain(metric, rows, a, b, resamples=100, seed=0)
    assert found.value == pytest.approx(value_of(metric, rows, a) - value_of(metric, rows, b)) == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((-0.0555, 0.2551), abs=1e-3)
    assert significance(metric, rows, a, b, resamples=100, seed=0) == (sign_test(10, 5), "McNemar")


def test_models_that_answer_alike_are_not_known_to_do_so_on_the_next_row() -> None:
    draws = {"resamples": 100, "seed": 0}
    shares = [paired_gain(metric, REFERENCES, FIRST, FIRST, **draws) for metric in (Accuracy(), MacroF1(), ChrF())]
    assert {(d.value, d.low, d.high) for d in shares} == {(0.0, shares[0].low, shares[0].high)}
    assert shares[0].high == -shares[0].low == pytest.approx(3.84 / 63.84, abs=1e-4)
    unbounded = paired_gain(MeanAbsoluteError(), [1.0, 2.0], [1.5, 2.0], [1.5, 2.0], **draws)
    assert (unbounded.low, unbounded.high) == (0.0, 0.0)


def test_lower_is_better_turns_the_difference() -> None:
    found = paired_gain(MeanAbsoluteError(), [0.0] * 30, [1.0] * 30, [2.0, 4.0] * 15, resamples=100, seed=0)
    assert found.value == pytest.approx(2.0)
    assert 1.0 < found.low < 2.0 < found.high


def test_a_permutation_test_counts_the_ways_to_change_places() -> None:
    # Four rows differ by 1, 1, 1 and 2 in favour of one: 2 of the 16 ways are as uneven as what was found.
    p_value = permutation_test(MeanAbsoluteError(), [0.0] * 4, [1, 1, 1, 2], [2, 2, 2, 4], resamples=20_000, seed=0)
    assert p_value == pytest.approx(2 / 16, abs=0.01)


def test_a_permutation_test_of_answers_that_are_alike_finds_nothing() -> None:
    assert permutation_test(MacroF1(), REFERENCES, FIRST, FIRST, resamples=100, seed=0) == 1.0
    assert permutation_test(MacroF1(), ["a"] * 60, ["a"] * 60, ["b"] * 60, resamples=100, seed=0) == 1 / 101


def test_a_permutation_test_does_not_depend_on_order_or_on_who_is_first() -> None:
    shuffled = np.random.default_rng(3).permutation(60).tolist()
    references, a, b = ([column[i] for i in shuffled] for column in (REFERENCES, FIRST, SECOND))
    expected = permutation_test(MacroF1(), REFERENCES, FIRST, SECOND, resamples=500, seed=1)
    assert permutation_test(MacroF1(), references, a, b, resamples=500, seed=1) == expected
    assert permutation_test(ShareRight(), REFERENCES, FIRST, SECOND, resamples=100, seed=1) == pytest.approx(
        permutation_test(Accuracy(), REFERENCES, FIRST, SECOND, resamples=100, seed=1)
    )
    assert permutation_test(MacroF1(), REFERENCES, SECOND, FIRST, resamples=500, seed=1) == pytest.approx(
        expected, abs=0.05
    )


def test_several_metrics_are_corrected_together() -> None:
    assert holm([]) == []
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    found = compared([Accuracy(), MacroF1()], REFERENCES, FIRST, SECOND, resamples=200, seed=0)
    assert [entry["metric"] for entry in found] == ["accuracy", "macro-f1"]
    assert [entry["test"] for entry in found] == ["McNemar", "permutation"]
    assert found[0]["p_holm"] == max(found[0]["p_value"], min(1.0, 2 * min(e["p_value"] for e in found)))
    assert set(found[0]) == {"metric", "difference", "low", "high", "n", "p_value", "test", "p_holm"}
