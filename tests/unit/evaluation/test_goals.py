"""Goals: every form that reads, every mistake, and what is judged certain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from burnish.errors import RecipeError
from burnish.evaluation.goals import EXAMPLE, KNOWN, Goal, judge_goals, parse_goal
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.metrics.classification import class_figures


@pytest.mark.parametrize(
    ("text", "metric", "label", "threshold"),
    [
        ("accuracy >= 0.9", "accuracy", None, 0.9),
        ("  macro-f1>=.5 ", "macro-f1", None, 0.5),
        ("recall[refund] >= 1", "recall", "refund", 1.0),
        ("precision [ card not here ] >= 9e-1", "precision", " card not here ", 0.9),
        ("f1[a[0] >= b] >= 0.25", "f1", "a[0] >= b", 0.25),
    ],
)
def test_goals_that_read(text: str, metric: str, label: str | None, threshold: float) -> None:
    assert parse_goal(text) == Goal(text, metric, label, threshold)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recall >= 0.9", '"recall >= 0.9" is not METRIC >= SHARE or METRIC[LABEL] >= SHARE'),
        ("accuracy[refund] >= 0.9", '"accuracy[refund] >= 0.9" is not METRIC >= SHARE or METRIC[LABEL] >= SHARE'),
        ("accuracy > 0.9", '"accuracy > 0.9" is not METRIC >= SHARE or METRIC[LABEL] >= SHARE'),
        ("", '"" is not METRIC >= SHARE or METRIC[LABEL] >= SHARE'),
        ("accuracy >= 0.9.1", '"accuracy >= 0.9.1" has no number after >=: 0.9.1'),
        ("accuracy >= 90", '"accuracy >= 90" asks for 90, which is not a share from 0 to 1'),
        ("accuracy >= -0.1", '"accuracy >= -0.1" asks for -0.1, which is not a share from 0 to 1'),
    ],
)
def test_bad_goals_show_an_example(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_goal(text, where="recipe.yaml:7")
    error = caught.value
    assert (error.code, error.message, error.where) == ("recipe/bad-goal", message, "recipe.yaml:7")
    assert error.known == KNOWN
    assert error.hint == EXAMPLE


def test_unknown_label_names_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_goal("recall[refnd] >= 0.95", ["cancel", "refund"])
    error = caught.value
    assert (error.code, error.where) == ("recipe/unknown-goal-label", "evaluation.goals")
    assert error.message == '"refnd" is not one of the 2 labels'
    assert error.known == ("cancel", "refund")
    assert error.hint == "did you mean `recall[refund] >= 0.95`?"


REFERENCES = ["a"] * 20 + ["b"] * 20
PREDICTIONS = ["a"] * 19 + ["b"] * 21


def judged(goals: Sequence[Goal], labels: Sequence[str]) -> list[dict[str, Any]]:
    metrics = [create_metric(name, labels) for name in ("accuracy", "macro-f1")]
    return judge_goals(goals, metrics, REFERENCES, PREDICTIONS, class_figures(REFERENCES, PREDICTIONS, labels))


@pytest.mark.parametrize(
    ("goal", "value", "n", "reached", "certain"),
    [
        ("accuracy >= 0.5", 39 / 40, 40, True, True),
        ("accuracy >= 0.97", 39 / 40, 40, True, False),
        ("recall[a] >= 0.995", 19 / 20, 20, False, True),
        ("recall[a] >= 0.99", 19 / 20, 20, False, False),
        ("precision[a] >= 0.9", 1.0, 19, True, False),
        ("f1[b] >= 0.5", 40 / 41, 21, True, True),
        ("macro-f1 >= 0.5", (38 / 39 + 40 / 41) / 2, 40, True, True),
    ],
)
def test_reached_compares_the_value_and_certain_the_interval(
    goal: str, value: float, n: int, reached: bool, certain: bool
) -> None:
    [found] = judged([parse_goal(goal, ["a", "b"])], ["a", "b"])
    assert (found["goal"], found["n"], found["reached"], found["certain"]) == (goal, n, reached, certain)
    assert found["value"] == pytest.approx(value)
    assert found["low"] <= found["value"] <= found["high"]


def test_a_class_without_rows_is_never_certain() -> None:
    goals = [parse_goal("recall[c] >= 0.5"), parse_goal("recall[c] >= 0")]
    missed, reached = judged(goals, ["a", "b", "c"])
    assert (missed["reached"], missed["certain"], missed["low"], missed["n"]) == (False, False, None, 0)
    assert (reached["reached"], reached["certain"]) == (True, False)
