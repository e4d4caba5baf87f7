"""Any number of labels per row, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from burnish.evaluation.metrics.label_sets import MicroF1, SubsetAccuracy, label_figures
from burnish.evaluation.metrics.resampling import measured, value_of

LABELS = ("a", "b", "c", "d")


def drawn(seed: int) -> list[tuple[str, ...]]:
    random = np.random.default_rng(seed)
    return [tuple(label for label in LABELS if random.random() < 0.4) for _ in range(80)]


def indicators(rows: list[tuple[str, ...]]) -> np.ndarray:
    return np.array([[label in row for label in LABELS] for row in rows])


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn(seed: int) -> None:
    references, predictions = drawn(seed), drawn(seed + 50)
    truth, guess = indicators(references), indicators(predictions)
    assert value_of(MicroF1(), references, predictions) == pytest.approx(f1_score(truth, guess, average="micro"))
    assert value_of(SubsetAccuracy(), references, predictions) == pytest.approx(accuracy_score(truth, guess))
    each = f1_score(truth, guess, average=None)
    figures = label_figures(references, predictions)
    assert [figures[label].f1.value for label in LABELS] == pytest.approx(each.tolist())


def test_intervals_hold_the_value() -> None:
    found = measured(MicroF1(), drawn(1), drawn(2))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert found.n == 80
