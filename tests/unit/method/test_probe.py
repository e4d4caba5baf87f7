"""The probe: its gradient vanishes, its path ends, its choice is validation's."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.method.probe import PATIENCE, choose_probe, fit_softmax


def points(n: int, seed: int, *, classes: int = 3, noise: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """(n, 5) features around one corner per class, and class ids."""
    random = np.random.default_rng(seed)
    targets = np.arange(n) % classes
    return np.eye(5)[targets] + noise * random.normal(size=(n, 5)), targets


def accuracy(targets: np.ndarray, predictions: np.ndarray) -> float:
    return float((targets == predictions).mean())


def test_the_gradient_vanishes_at_the_solution() -> None:
    features, targets = points(90, 0)
    weight, bias = fit_softmax(features, targets, l2=0.01, gradient_tolerance=1e-9)
    assert (weight.shape, bias.shape) == ((3, 5), (3,))
    logits = features @ weight.T + bias
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    residual = probability - np.eye(3)[targets]
    # Solved on scaled features to 1e-9; the scale here is about 1.7, so 1e-8 leaves room for it and for rounding.
    assert np.abs(residual.T @ features / 90 + 0.01 * weight).max() < 1e-8
    assert np.abs(residual.mean(axis=0)).max() < 1e-8


def test_the_solution_does_not_depend_on_the_start_or_on_a_shift() -> None:
    features, targets = points(90, 0)
    weight, bias = fit_softmax(features, targets, 0.01, gradient_tolerance=1e-9)
    start = np.random.default_rng(1).normal(size=(3, 5)), np.array([1.0, -1.0, 0.0])
    again, _ = fit_softmax(features, targets, 0.01, start, gradient_tolerance=1e-9)
    shifted, shifted_bias = fit_softmax(features + 7.0, targets, 0.01, gradient_tolerance=1e-9)
    # |gradient| < 1e-9 and curvature >= l2 = 1e-2 leave at most about 1e-6 in the weights.
    assert again == pytest.approx(weight, abs=1e-6)
    assert shifted == pytest.approx(weight, abs=1e-6)
    logits, shifted_logits = features @ weight.T + bias, (features + 7.0) @ shifted.T + shifted_bias
    assert shifted_logits == pytest.approx(logits, abs=1e-4)


def test_a_class_that_counts_twice_is_one_whose_rows_are_there_twice() -> None:
    features, targets = points(60, 0)
    double = np.repeat(np.arange(60), np.where(targets == 1, 2, 1))
    weights = np.array([1.0, 2.0, 1.0])
    weight, _ = fit_softmax(features, targets, 0.01, gradient_tolerance=1e-9, class_weights=weights)
    repeated, _ = fit_softmax(features[double], targets[double], 0.01, gradient_tolerance=1e-9)
    assert weight == pytest.approx(repeated, abs=1e-6)  # |gradient| < 1e-9 and curvature >= l2 = 1e-2
    assert weight != pytest.approx(fit_softmax(features, targets, 0.01)[0], abs=1e-2)


def test_single_precision_features_are_solved_in_double() -> None:
    features, targets = points(30, 0)
    weight, bias = fit_softmax(features.astype(np.float32), targets, 0.1)
    assert weight.dtype == bias.dtype == np.float64


def test_validation_chooses_the_strength() -> None:
    features, targets = points(30, 0, noise=1.5)
    val_features, val_targets = points(300, 1, noise=1.5)
    probe = choose_probe(features, targets, val_features, val_targets, accuracy)
    alone = {
        strength: accuracy(val_targets, (val_features @ w.T + b).argmax(axis=1))
        for strength in (0.1, 10.0, 1000.0)
        for w, b in [fit_softmax(features, targets, (features**2).sum(axis=1).mean() / (strength * 30))]
    }
    assert probe.validation_score >= max(alone.values()) - 0.01  # one strength in three was not tried alone
    assert probe.validation_score == accuracy(val_targets, probe.logits(val_features).argmax(axis=1))
    assert probe.iterations > 0


def test_features_of_any_length_choose_the_same() -> None:
    (features, targets), (val_features, val_targets) = points(60, 0), points(60, 1)
    probe = choose_probe(features, targets, val_features, val_targets, accuracy)
    large = choose_probe(40 * features, targets, 40 * val_features, val_targets, accuracy)
    assert large.validation_score == probe.validation_score
    assert large.weight * 40 == pytest.approx(probe.weight, abs=1e-3)
    assert large.l2 == pytest.approx(probe.l2 * 1600)


def test_the_path_is_left_once_it_stops_getting_better() -> None:
    features, targets = points(30, 0)
    scores = iter([0.5, 0.9, 0.9, 0.8, 0.7, 0.99])
    seen: list[int] = []

    def score(_: np.ndarray, predictions: np.ndarray) -> float:
        seen.append(len(predictions))
        return next(scores)

    probe = choose_probe(features, targets, features, targets, score)
    assert PATIENCE == 2
    assert len(seen) == 4  # better, best, equal, worse: left before the fifth
    assert probe.validation_score == 0.9
    assert probe.l2 == pytest.approx((features**2).sum(axis=1).mean() / (0.3 * 30))  # the first of the two equal ones


def test_a_class_without_training_rows_has_its_place() -> None:
    features, targets = points(30, 0)
    probe = choose_probe(features, targets, features, targets, accuracy, class_count=5)
    assert (probe.weight.shape, probe.bias.shape) == ((5, 5), (5,))
    assert probe.logits(features).argmax(axis=1).max() < 3


def test_features_that_are_all_zero_learn_the_class_shares() -> None:
    _, bias = fit_softmax(np.zeros((4, 2)), np.array([0, 0, 0, 1]), 0.1, gradient_tolerance=1e-9)
    assert bias[0] - bias[1] == pytest.approx(np.log(3), abs=1e-6)
