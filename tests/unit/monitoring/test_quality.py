"""The fall of a metric with labels, and the accuracy to be expected without."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.metrics import create_metric
from burnish.monitoring.quality import estimated_accuracy, measured_fall

LABELS = ("a", "b")


def answers(right: int, wrong: int) -> tuple[list[str], list[str]]:
    """Labels and predictions of two classes with so many right and wrong ones."""
    labels = [LABELS[i % 2] for i in range(right + wrong)]
    return labels, [label if i < right else LABELS[1 - i % 2] for i, label in enumerate(labels)]


def test_a_fall_is_a_share_of_the_value_before() -> None:
    found = measured_fall(create_metric("accuracy", LABELS), answers(180, 20), answers(70, 30), seed=0)
    assert found is not None
    assert (found.before, found.after) == (0.9, 0.7)
    assert found.share == pytest.approx(0.2 / 0.9)
    assert found.low < found.share < found.high
    assert found.low > 0.05
    assert found.p_value <= 0.001


def test_its_p_value_is_that_of_fishers_exact_test() -> None:
    from scipy.stats import fisher_exact

    found = measured_fall(create_metric("accuracy", LABELS), answers(90, 10), answers(50, 10), seed=0)
    assert found is not None
    exact = fisher_exact([[50, 10], [90, 10]], alternative="less").pvalue
    assert found.p_value == pytest.approx(exact, abs=0.03)


def test_a_rise_is_a_fall_below_zero() -> None:
    found = measured_fall(create_metric("macro-f1", LABELS), answers(60, 40), answers(90, 10), seed=0)
    assert found is not None
    assert found.share < 0
    assert found.p_value > 0.9


def test_an_error_falls_when_it_grows() -> None:
    numbers = [float(i) for i in range(50)]
    before, after = (numbers, [x + (-1) ** i for i, x in enumerate(numbers)]), (numbers, [x + 3 for x in numbers])
    found = measured_fall(create_metric("mae", ()), before, after, seed=0)
    assert found is not None
    assert found.share == pytest.approx(2.0)
    assert found.p_value <= 0.001


def test_nothing_is_a_share_of_nothing() -> None:
    assert measured_fall(create_metric("accuracy", LABELS), answers(0, 10), answers(5, 5), seed=0) is None


def drawn(count: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and right answers of a calibrated model; `shift` makes more rows hard."""
    random = np.random.default_rng(seed)
    sure = 0.5 + 0.5 * random.beta(5, 2 + shift, size=count)
    return sure, random.random(count) < sure


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_a_calibrated_model_knows_how_good_it_is(shift: float) -> None:
    sure, right = drawn(2_000, 0.0, 0)
    new, truth = drawn(2_000, shift, 1)
    found = estimated_accuracy(sure, right, new, seed=0)
    assert found.before == right.mean()
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(truth.mean(), abs=0.03)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held, truth = 0, float(drawn(200_000, 1.0, 999)[0].mean())
    for seed in range(60):
        sure, right = drawn(150, 0.0, 3 * seed)
        new, _ = drawn(150, 1.0, 3 * seed + 1)
        found = estimated_accuracy(sure, right, new, seed=seed)
        held += found.low <= truth <= found.high
    assert held >= 51  # of 60 at 95 %: fewer have a chance of one in a hundred


def test_an_estimate_stays_a_share() -> None:
    found = estimated_accuracy(np.full(5, 0.5), np.zeros(5, bool), np.full(5, 0.2), seed=0)
    assert (found.value, found.low, found.high) == (0, 0, 0)
