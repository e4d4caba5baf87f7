"""Answers that are words of a text, by hand."""

from __future__ import annotations

import pytest

from burnish.evaluation.metrics.spans import AnswerExact, AnswerF1


@pytest.mark.parametrize(
    ("references", "prediction", "f1", "exact"),
    [
        (("the Nile",), "Nile", 1.0, 1.0),
        (("in 1998", "1998"), "1998.", 1.0, 1.0),
        (("the long river",), "a river", 2 / 3, 0.0),
        (("",), "", 1.0, 1.0),
        (("",), "Nile", 0.0, 0.0),
        (("Nile",), "", 0.0, 0.0),
        (("very very big",), "very big", 4 / 5, 0.0),
    ],
)
def test_scores(references: tuple[str, ...], prediction: str, f1: float, exact: float) -> None:
    assert AnswerF1().score(references, prediction) == pytest.approx(f1)
    assert AnswerExact().score(references, prediction) == exact
    metric = AnswerF1()
    metric.update([{"label": prediction}, {"label": "x"}], [{"label": references}, {"label": ("x",)}])
    assert metric.compute().value == pytest.approx((f1 + 1) / 2)
