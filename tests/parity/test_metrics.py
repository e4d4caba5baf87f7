"""Metrics against scikit-learn, McNemar's test against scipy, and the probe against LogisticRegression."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support
from sklearn.metrics import confusion_matrix as reference_confusion

from burnish.evaluation.compare import row_wins, sign_test
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.metrics.classification import Accuracy, class_figures, confusion_matrix
from burnish.evaluation.metrics.resampling import value_of, wilson_interval
from burnish.method.probe import fit_softmax

LABELS = [f"intent {c}" for c in range(12)]


@pytest.fixture(params=range(4))
def labelled(request: pytest.FixtureRequest) -> tuple[list[str], list[str], list[str]]:
    """300 references and two models' predictions over 12 labels, some of which no row has."""
    random = np.random.default_rng(request.param)
    used = LABELS[: 9 + request.param]
    truth = random.choice(used, 300, p=random.dirichlet(np.ones(len(used))))
    a, b = (np.where(random.random(300) < share, truth, random.choice(used, 300)) for share in (0.8, 0.7))
    return truth.tolist(), a.tolist(), b.tolist()


Labelled = tuple[list[str], list[str], list[str]]


def test_accuracy_and_macro_f1(labelled: Labelled) -> None:
    truth, guess, _ = labelled
    assert value_of(create_metric("accuracy", LABELS), truth, guess) == pytest.approx(accuracy_score(truth, guess))
    expected = f1_score(truth, guess, labels=LABELS, average="macro", zero_division=0)
    assert value_of(create_metric("macro-f1", LABELS), truth, guess) == pytest.approx(expected)


def test_macro_f1_over_a_part_of_the_labels(labelled: Labelled) -> None:
    truth, guess, _ = labelled
    expected = f1_score(truth, guess, labels=LABELS[:4], average="macro", zero_division=0)
    assert value_of(create_metric("macro-f1", LABELS[:4]), truth, guess) == pytest.approx(expected)


def test_class_figures(labelled: Labelled) -> None:
    truth, guess, _ = labelled
    expected = precision_recall_fscore_support(truth, guess, labels=LABELS, zero_division=0)
    for label, precision, recall, f1, support in zip(LABELS, *expected, strict=True):
        figures = class_figures(truth, guess, LABELS)[label]
        values = (figures.precision.value, figures.recall.value, figures.f1.value)
        assert values == pytest.approx((precision, recall, f1))
        assert figures.support == figures.recall.n == support


def test_confusion(labelled: Labelled) -> None:
    truth, guess, _ = labelled
    expected = reference_confusion(truth, guess, labels=LABELS)
    assert confusion_matrix(truth, guess, LABELS).tolist() == expected.tolist()


def test_mcnemar(labelled: Labelled) -> None:
    only_a, only_b = row_wins(Accuracy(), *labelled)
    assert sign_test(only_a, only_b) == pytest.approx(binomtest(only_a, only_a + only_b).pvalue, rel=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (3, 7), (7, 7), (931, 1000)])
def test_wilson(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_probe(classes: int, strength: float) -> None:
    random = np.random.default_rng(classes)
    targets = np.arange(200) % classes
    features = np.eye(8)[targets] + 0.7 * random.normal(size=(200, 8))
    weight, bias = fit_softmax(features, targets, 1 / (strength * 200), gradient_tolerance=1e-9)
    logits = features @ weight.T + bias
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    # With two classes scikit-learn solves one weight per feature, v; ours are v/2 and -v/2, with half its penalty.
    strength *= 2 if classes == 2 else 1
    expected = LogisticRegression(C=strength, tol=1e-9, max_iter=5000).fit(features, targets)
    # Both gradients are below 1e-8; the weakest curvature is l2 = 5e-4.
    assert probability == pytest.approx(expected.predict_proba(features), abs=1e-5)
