"""Metrics by name: burnish's own, those of other packages, and the name nobody has."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints
from typing import ClassVar, Self

import pytest

from burnish.errors import RecipeError
from burnish.evaluation import metrics
from burnish.evaluation.metrics import create_metric, default_metric, find_metric
from burnish.evaluation.metrics.classification import MacroF1
from burnish.types import MetricValue, Row


class Elsewhere:
    """A metric of another package."""

    name: ClassVar[str] = "elsewhere"
    higher_is_better: ClassVar[bool] = True

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None: ...
    def merge(self, other: Self) -> None: ...
    def compute(self) -> MetricValue:
        return MetricValue(self.name, 1.0, 0)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = EntryPoints(
        [
            EntryPoint("elsewhere", f"{__name__}:Elsewhere", "burnish.metrics"),
            EntryPoint("broken", "no_such_package:Metric", "burnish.metrics"),
        ]
    )
    monkeypatch.setattr(metrics, "entry_points", lambda group: entries.select(group=group))
    monkeypatch.setattr(EntryPoint, "load", lambda self: {"elsewhere": Elsewhere}[self.name])


def test_a_metric_with_labels_is_given_the_label_set() -> None:
    metric = create_metric("macro-f1", ["a", "b", "c"])
    assert isinstance(metric, MacroF1)
    assert metric.labels == ("a", "b", "c")


@pytest.mark.usefixtures("offered")
def test_a_package_offers_a_metric_that_is_imported_only_when_asked_for() -> None:
    assert find_metric("accuracy").name == "accuracy"  # the broken neighbour is not touched
    assert isinstance(create_metric("elsewhere", ["a"]), Elsewhere)


@pytest.mark.usefixtures("offered")
def test_unknown_metric_names_the_nearest_and_all() -> None:
    with pytest.raises(RecipeError) as caught:
        find_metric("macro_f1")
    error = caught.value
    assert (error.code, error.where, error.exit_code) == ("recipe/unknown-metric", "evaluation.metric", 2)
    assert error.message == '"macro_f1" is not a metric'
    assert list(error.known) == sorted({*metrics.METRICS, "broken", "elsewhere"})
    assert error.hint == "write `evaluation: {metric: macro-f1}`"


@pytest.mark.parametrize(("largest", "metric"), [(30, "accuracy"), (31, "macro-f1")])
def test_the_default_is_macro_f1_over_three_to_one(largest: int, metric: str) -> None:
    assert default_metric({"refund": largest, "cancel": 10, "other": 20}) == metric
