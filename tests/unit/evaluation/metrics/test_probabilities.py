"""Metrics of probabilities by hand; tests/parity compares them with scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from burnish.evaluation.metrics.classification import Accuracy, MacroF1
from burnish.evaluation.metrics.probabilities import (
    Brier,
    CalibrationError,
    LogLoss,
    OfLikeliest,
    PrAuc,
    RocAuc,
    likeliest,
    reliability,
)
from burnish.evaluation.metrics.resampling import measured, value_of

LABELS = ("no", "yes")
TRUTH = ["yes", "no", "yes", "no"]
GUESS = [(0.1, 0.9), (0.4, 0.6), (0.6, 0.4), (0.8, 0.2)]


def test_ranking_by_hand() -> None:
    # ranked: yes no yes no; of four pairs the second no is below both, the first no above one
    assert value_of(RocAuc(LABELS), TRUTH, GUESS) == 0.75
    assert value_of(PrAuc(LABELS), TRUTH, GUESS) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert value_of(RocAuc(LABELS, "no"), TRUTH, GUESS) == 0.75  # the other class ranks the other way round


def test_all_alike_is_guessing() -> None:
    alike = [(0.5, 0.5)] * 4
    assert value_of(RocAuc(LABELS), TRUTH, alike) == 0.5
    assert value_of(PrAuc(LABELS), TRUTH, alike) == 0.5


def test_without_one_of_the_classes() -> None:
    assert value_of(RocAuc(LABELS), ["no"] * 4, GUESS) == 0.5
    assert value_of(PrAuc(LABELS), ["no"] * 4, GUESS) == 0.0


def test_loss_and_distance_by_hand() -> None:
    assert value_of(LogLoss(LABELS), TRUTH, GUESS) == pytest.approx(-sum(map(math.log, (0.9, 0.4, 0.4, 0.8))) / 4)
    assert value_of(Brier(LABELS), TRUTH, GUESS) == pytest.approx((0.01 + 0.36 + 0.36 + 0.04) / 4)
    assert math.isfinite(value_of(LogLoss(LABELS), ["yes"], [(1.0, 0.0)]))


def test_calibration_error_by_hand() -> None:
    truth = ["yes", "no", "yes", "yes"]
    guess = [(0.45, 0.55), (0.41, 0.59), (0.1, 0.9), (0.0, 1.0)]  # two halves: 0.57 came true in half, 0.95 always
    assert value_of(CalibrationError(LABELS), truth, guess) == pytest.approx((abs(1 - 1.14) + abs(2 - 1.9)) / 4)
    bins = reliability(LABELS, "yes", truth, guess)
    assert [entry["n"] for entry in bins] == [2, 2]
    assert [entry["share"] for entry in bins] == [0.5, 1.0]
    assert bins[0]["probability"] == pytest.approx(0.57)
    assert bins[0]["low"] < 0.5 < bins[0]["high"]


def test_bins_hold_equally_many_rows_and_never_part_rows_that_are_equally_sure() -> None:
    sure = [0.9] * 20 + [0.91 + 0.001 * i for i in range(40)]  # 60 rows: four bins of 15
    bins = reliability(LABELS, "yes", ["yes"] * 60, [(1 - p, p) for p in sure])
    assert [entry["n"] for entry in bins] == [20, 10, 15, 15]
    assert bins[0]["probability"] == pytest.approx(0.9)


def test_of_several_classes_the_likeliest_is_believed() -> None:
    labels = ("a", "b", "c")
    sure, true = CalibrationError(labels).believed(["a", "b"], [(0.7, 0.2, 0.1), (0.5, 0.3, 0.2)])
    assert (sure.tolist(), true.tolist()) == ([0.7, 0.5], [1.0, 0.0])


@pytest.mark.parametrize("metric", [RocAuc, PrAuc, LogLoss, Brier, CalibrationError])
def test_shards_are_put_together_and_the_interval_holds_the_value(metric: type[RocAuc]) -> None:
    whole = measured(metric(LABELS), TRUTH * 20, GUESS * 20)
    first, second = metric(LABELS), metric(LABELS)
    for shard, part in ((first, slice(0, 30)), (second, slice(30, 80))):
        truth, guess = (TRUTH * 20)[part], (GUESS * 20)[part]
        shard.update([{"label": g} for g in guess], [{"label": t} for t in truth])
    first.merge(second)
    assert first.compute() == whole
    assert whole.n == 80
    assert whole.low is not None
    assert whole.high is not None
    assert whole.low <= whole.value <= whole.high


def test_a_row_is_scored_by_the_probability_of_what_is_right() -> None:
    assert RocAuc(LABELS).score("yes", (0.1, 0.9)) == 0.9
    assert LogLoss(LABELS).score("yes", (0.1, 0.9)) == -0.9  # lower is better there


def test_metrics_of_labels_see_the_likeliest() -> None:
    assert likeliest(LABELS, [(0.5, 0.5), (0.4, 0.6)]) == ["no", "yes"]
    accuracy = OfLikeliest(Accuracy(), LABELS)
    assert accuracy.name == "accuracy"
    assert value_of(accuracy, TRUTH, GUESS) == 0.5
    assert accuracy.score("yes", (0.4, 0.6)) == 1.0
    macro = OfLikeliest(MacroF1(LABELS), LABELS)
    assert macro.weighted(TRUTH, GUESS, np.array([[1, 0, 0, 1]]))[0] == 1.0
