"""Metrics of probabilities and of numbers against scikit-learn, on whole rows and on rows that count several times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as reference

from burnish.evaluation.metrics.probabilities import Brier, LogLoss, PrAuc, RocAuc
from burnish.evaluation.metrics.regression import MeanAbsoluteError, RootMeanSquaredError, RSquared
from burnish.evaluation.metrics.resampling import Array, measured, value_of

LABELS = ("no", "yes")
Binary = tuple[list[str], list[tuple[float, float]], Array]


@pytest.fixture(params=range(3))
def binary(request: pytest.FixtureRequest) -> Binary:
    """400 labels, probabilities with ties, and how often each row counts."""
    random = np.random.default_rng(request.param)
    truth = random.random(400) < 0.2
    score = np.clip(0.2 + 0.3 * truth + random.normal(0, 0.2, 400), 0, 1).round(1 + request.param)
    labels = [LABELS[int(t)] for t in truth]
    return labels, [(1 - float(s), float(s)) for s in score], random.integers(0, 4, 400)


OF_TWO: list[tuple[type[PrAuc | RocAuc | Brier], Callable[..., float]]] = [
    (PrAuc, reference.average_precision_score),
    (RocAuc, reference.roc_auc_score),
    (Brier, reference.brier_score_loss),
]


@pytest.mark.parametrize(("metric", "wanted"), OF_TWO)
def test_two_classes(binary: Binary, metric: type[PrAuc], wanted: Callable[..., float]) -> None:
    labels, probabilities, weights = binary
    truth, score = [label == "yes" for label in labels], [pair[1] for pair in probabilities]
    assert value_of(metric(LABELS, "yes"), labels, probabilities) == pytest.approx(wanted(truth, score))
    found = metric(LABELS, "yes").weighted(labels, probabilities, weights[None])
    assert found == pytest.approx([wanted(truth, score, sample_weight=weights)])


def test_the_positive_class_is_the_one_that_is_named(binary: Binary) -> None:
    labels, probabilities, _ = binary
    truth, score = [label == "no" for label in labels], [pair[0] for pair in probabilities]
    found = value_of(PrAuc(LABELS, "no"), labels, probabilities)
    assert found == pytest.approx(reference.average_precision_score(truth, score))


def test_several_classes() -> None:
    random = np.random.default_rng(0)
    labels, weights = ["a", "b", "c"], random.integers(0, 4, 300)
    truth = random.choice(labels, 300).tolist()
    probabilities = random.dirichlet(np.ones(3), 300)
    rows = [tuple(row) for row in probabilities.tolist()]
    for metric, wanted in (
        (LogLoss(labels), reference.log_loss(truth, probabilities, labels=labels, sample_weight=weights)),
        (Brier(labels), reference.brier_score_loss(truth, probabilities, labels=labels, sample_weight=weights)),
    ):
        assert metric.weighted(truth, rows, weights[None]) == pytest.approx([wanted])


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        (MeanAbsoluteError, reference.mean_absolute_error),
        (RootMeanSquaredError, reference.root_mean_squared_error),
        (RSquared, reference.r2_score),
    ],
)
def test_numbers(metric: type[RSquared], wanted: Callable[..., float]) -> None:
    random = np.random.default_rng(1)
    truth = 1e6 + random.normal(0, 3, 200)
    guess = truth + random.normal(0, 2, 200)
    weights = random.integers(0, 4, 200)
    assert value_of(metric(), truth.tolist(), guess.tolist()) == pytest.approx(wanted(truth, guess))
    found = metric().weighted(truth.tolist(), guess.tolist(), weights[None])
    assert found == pytest.approx([wanted(truth, guess, sample_weight=weights)])


def test_the_interval_of_an_area_is_about_that_of_its_standard_error() -> None:
    """Hanley and McNeil 1982, Radiology 143:29-36, eq. 1; the normal interval of a large sample."""
    random = np.random.default_rng(2)
    truth = random.random(2_000) < 0.3
    score = 1 / (1 + np.exp(-(random.normal(0, 1, 2_000) + truth)))
    labels, rows = [LABELS[int(t)] for t in truth], [(1 - float(s), float(s)) for s in score]
    found = measured(RocAuc(LABELS, "yes"), labels, rows)
    area, positive, negative = found.value, int(truth.sum()), int((~truth).sum())
    both, other = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positive - 1) * (both - area**2) + (negative - 1) * (other - area**2)
    error = 1.96 * (variance / (positive * negative)) ** 0.5
    assert found.low == pytest.approx(area - error, abs=0.005)
    assert found.high == pytest.approx(area + error, abs=0.005)
