"""Which model a run of a table ends with, and what it advises."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.evaluation.table_verdict import advice, shipped


def evaluation(
    answer: str, *, gain: float, ahead: float, against: str = "trees", metric: str = "roc-auc"
) -> dict[str, Any]:
    """What evaluation.json holds of it."""
    return {
        "metric": metric,
        "verdict": {
            "answer": answer,
            "against": against,
            "low": gain - 0.01,
            "advice": "Use it. About 900 test rows would settle it; there are 150.",
        },
        "arms": {"trees": {"difference": {"value": gain}}},
        "validation": {"tuned": {metric: 0.7 + ahead}, "trees": {metric: 0.7}},
    }


@pytest.mark.parametrize(
    ("answer", "gain", "ahead", "model"),
    [
        ("better", 0.05, -0.01, "transformer"),
        ("same", 0.001, 0.01, "trees"),
        ("worse", -0.05, 0.01, "trees"),
        ("too little data", 0.02, 0.01, "transformer"),
        ("too little data", 0.02, -0.01, "trees"),
        ("too little data", -0.02, 0.01, "trees"),
    ],
)
def test_the_trees_are_shipped_unless_the_transformer_earned_it(
    answer: str, gain: float, ahead: float, model: str
) -> None:
    assert shipped(evaluation(answer, gain=gain, ahead=ahead)) == model


def test_an_error_is_ahead_when_it_is_lower() -> None:
    found = evaluation("too little data", gain=0.02, ahead=-0.1, metric="mae")
    assert shipped(found) == "transformer"


def test_advice() -> None:
    def said(answer: str, against: str = "trees") -> str:
        return advice(evaluation(answer, gain=0.0, ahead=0.0, against=against), "trees")

    assert said("worse") == (
        "Use the trees: gradient-boosted trees are better than the transformer, train in seconds and are shipped as "
        "the model of this run."
    )
    assert said("same").startswith("Use the trees: gradient-boosted trees are as good as the transformer")
    slightly_behind = advice(evaluation("same", gain=0.02, ahead=0.0), "trees")
    assert slightly_behind.startswith("Use the trees: gradient-boosted trees are nearly as good as the transformer")
    assert said("same", "linear").startswith("Use a linear model of the same columns if you can: it is as good as")
    assert said("worse", "mean").startswith("Do not use a model of these columns: the mean of the training rows is")
    assert said("better") == "Use it. About 900 test rows would settle it; there are 150."
    assert said("too little data") == (
        "This run uses the trees until more rows tell. About 900 test rows would settle it; there are 150."
    )
