"""The interval of a metric that only its weighted rows define."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.evaluation.metrics.label_sets import SubsetAccuracy
from burnish.evaluation.metrics.regression import MeanAbsoluteError
from burnish.evaluation.metrics.resampling import measured, wilson_interval
from burnish.evaluation.metrics.spans import AnswerF1


@pytest.mark.parametrize(
    ("metric", "reference", "right", "wrong"),
    [(SubsetAccuracy(), ("a",), ("a",), ("b",)), (AnswerF1(), ("red",), "red", "blue")],
)
def test_a_share_has_a_width_when_every_row_is_right_or_none(
    metric: Any, reference: Any, right: Any, wrong: Any
) -> None:
    for answer, successes in ((right, 50), (wrong, 0)):
        found = measured(metric, [reference] * 50, [answer] * 50)
        assert (found.low, found.high) == wilson_interval(successes, 50)


def test_errors_without_a_bound_have_no_width_to_borrow() -> None:
    found = measured(MeanAbsoluteError(), [1.0] * 50, [1.0] * 50)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
