"""Temperatures: found again where they are known, refused on few rows, and harmless for labels."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.calibration import fit_temperature, judge_calibration, positive_of, softened, softmax

LABELS = ("a", "b", "c")


def rows(n: int, heat: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Class ids drawn from the softmax of logits, and these logits times `heat`: the temperature to be found."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, size=(n, 3))
    classes = np.array([random.choice(3, p=p) for p in softmax(logits)])
    return classes, logits * heat


@pytest.mark.parametrize("heat", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found(heat: float) -> None:
    classes, logits = rows(4_000, heat)
    found = fit_temperature(classes, logits)
    assert found.temperature == pytest.approx(heat, rel=0.08)  # standard error of 4,000 rows: 3 %
    assert (found.n, found.reason) == (4_000, "")


def test_it_is_the_minimum_of_the_log_loss() -> None:
    classes, logits = rows(500, 2.0)
    best = fit_temperature(classes, logits).temperature

    def loss(temperature: float) -> float:
        return float(-np.log(softmax(logits, temperature)[np.arange(500), classes]).mean())

    assert loss(best) <= min(loss(best * factor) for factor in (0.9, 0.95, 1.05, 1.1))


def test_few_rows_give_none() -> None:
    found = fit_temperature(*rows(49, 3.0))
    assert (found.temperature, found.n) == (1.0, 49)
    assert found.reason == "49 validation rows are too few to correct how sure it is; 50 are not"


def test_rows_that_are_all_right_do_not_make_it_certain() -> None:
    logits = np.tile([2.0, 0.0], (100, 1))
    found = fit_temperature(np.zeros(100, dtype=int), logits)
    # Platt's targets: the probability that fits is 1 - 1 / 102
    assert softmax(logits, found.temperature)[0, 0] == pytest.approx(1 - 1 / 102, abs=1e-4)


def test_probabilities_at_a_temperature_are_those_of_the_logits() -> None:
    _, logits = rows(20, 1.0)
    warm = softened(softmax(logits), 2.5)
    assert warm == pytest.approx(softmax(logits, 2.5))
    assert warm.sum(axis=1) == pytest.approx(1)
    assert (warm.argmax(axis=1) == logits.argmax(axis=1)).all()
    assert softened(np.array([[1.0, 0.0]]), 2.0) == pytest.approx(np.array([[1.0, 0.0]]))


def test_figures_before_and_after_come_from_the_same_rows() -> None:
    classes, logits = rows(600, 3.0)
    truth = [LABELS[c] for c in classes]
    found = judge_calibration(LABELS, "", truth, softmax(logits), softmax(logits, 3.0), resamples=300, seed=0)
    assert list(found["figures"]) == ["calibration-error", "brier", "log-loss"]
    for figures in found["figures"].values():
        assert figures["difference"]["value"] == pytest.approx(figures["after"]["value"] - figures["before"]["value"])
        assert figures["difference"]["high"] < 0  # better for certain
        assert figures["after"]["low"] <= figures["after"]["value"] <= figures["after"]["high"]
    assert [entry["n"] for entry in found["bins"]["after"]] == [60] * 10


def test_of_two_labels_the_rarer_one_is_looked_for() -> None:
    assert positive_of({"a": 3, "b": 3}) == "a"
    assert positive_of({"a": 3, "b": 2, "c": 1}) == ""
