"""Accuracy, macro-F1, per-class figures and confusion, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from burnish.evaluation.metrics.classification import Accuracy, MacroF1, class_figures, confusion_matrix
from burnish.types import Metric, MetricValue

#               a: 3 rows, 2 right       b: 2 rows, 1 right   c: 1 row, right; once given to a b
REFERENCES = ["a", "a", "a", "b", "b", "c"]
PREDICTIONS = ["a", "a", "b", "b", "c", "c"]


def measured(metric: Metric, references: Sequence[str], predictions: Sequence[str]) -> MetricValue:
    metric.update([{"label": label} for label in predictions], [{"label": label} for label in references])
    return metric.compute()


def test_accuracy_with_its_wilson_interval() -> None:
    value = measured(Accuracy(), REFERENCES, PREDICTIONS)
    assert (value.value, value.n, value.higher_is_better) == (4 / 6, 6, True)
    assert (value.low, value.high) == pytest.approx((0.3000, 0.9032), abs=5e-5)


def test_macro_f1_is_the_mean_of_the_class_f1() -> None:
    # F1: a 2*2/(3+2) = 0.8, b 2*1/(2+2) = 0.5, c 2*1/(1+2) = 2/3
    value = measured(MacroF1(), REFERENCES, PREDICTIONS)
    assert value.value == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert value.low is not None
    assert value.high is not None
    assert 0 <= value.low < value.value < value.high <= 1


def test_a_class_of_the_task_without_any_row_counts_zero() -> None:
    value = measured(MacroF1(labels=["a", "b", "c", "unseen"]), REFERENCES, PREDICTIONS)
    assert value.value == pytest.approx((0.8 + 0.5 + 2 / 3) / 4)


def test_a_label_outside_the_task_is_a_miss_and_no_class() -> None:
    value = measured(MacroF1(labels=["a", "b"]), ["a", "b"], ["a", "nonsense"])
    assert value.value == pytest.approx((1.0 + 0.0) / 2)


@pytest.mark.parametrize("metric", [Accuracy(), MacroF1()])
def test_no_rows_give_no_interval(metric: Metric) -> None:
    value = metric.compute()
    assert (value.value, value.n, value.low, value.high) == (0.0, 0, None, None)


@pytest.mark.parametrize(("predictions", "exact"), [(["a", "b"] * 10, 1.0), (["b", "a"] * 10, 0.0)])
def test_all_right_or_all_wrong_still_has_a_width(predictions: list[str], exact: float) -> None:
    value = measured(MacroF1(), ["a", "b"] * 10, predictions)
    assert value.value == exact
    assert value.low is not None
    assert value.high is not None
    assert value.high - value.low == pytest.approx(0.1611, abs=5e-4)  # Wilson at 20 of 20


def test_metrics_compute_the_same_twice() -> None:
    metric = MacroF1()
    assert measured(metric, REFERENCES, PREDICTIONS) == metric.compute()


def test_rows_that_do_not_pair_up_are_a_bug() -> None:
    with pytest.raises(ValueError, match="zip"):
        Accuracy().update([{"label": "a"}], [])


def test_class_figures_have_each_their_own_n() -> None:
    figures = class_figures(REFERENCES, PREDICTIONS, ["a", "b", "c"])["a"]
    assert (figures.precision.value, figures.precision.n) == (1.0, 2)  # given to two rows, both right
    assert (figures.recall.value, figures.recall.n) == (2 / 3, 3)
    assert figures.f1.value == pytest.approx(0.8)
    assert figures.f1.n == 3
    assert figures.support == 3
    assert figures.recall.low == pytest.approx(0.2077, abs=5e-5)  # Wilson, 2 of 3
    assert figures.f1.low == pytest.approx(2 * 0.2077 / 1.2077, abs=1e-4)  # the same share, as F1


def test_a_class_nothing_names_has_no_interval() -> None:
    figures = class_figures(REFERENCES, PREDICTIONS, ["unseen"])["unseen"].as_dict()
    empty = {"value": 0.0, "n": 0, "low": None, "high": None}
    assert figures == {"precision": empty, "recall": empty, "f1": empty, "support": 0}


def test_confusion_has_references_in_rows() -> None:
    matrix = confusion_matrix(REFERENCES, PREDICTIONS, ["a", "b", "c"])
    assert matrix.tolist() == [
        [2, 1, 0],  # a: one was called b
        [0, 1, 1],  # b: one was called c
        [0, 0, 1],  # c
    ]
