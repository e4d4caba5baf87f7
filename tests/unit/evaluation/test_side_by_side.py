"""Two models of equal standing: the answer, its words, and the rows that differ."""

from __future__ import annotations

import pytest

from burnish.evaluation.answered import Answered, stored_answers
from burnish.evaluation.compare import Difference
from burnish.evaluation.metrics.classification import Accuracy, MacroF1
from burnish.evaluation.report_compare import render_comparison
from burnish.evaluation.side_by_side import EXAMPLES, answer_between, sentence, side_by_side
from burnish.evaluation.verdict import Answer


@pytest.mark.parametrize(
    ("value", "low", "high", "tested", "answer"),
    [
        (0.02, 0.001, 0.039, True, Answer.BETTER),
        (0.02, 0.001, 0.039, False, Answer.TOO_LITTLE_DATA),
        (-0.02, -0.039, -0.001, True, Answer.WORSE),
        (0.0, -0.009, 0.009, False, Answer.SAME),
        (-0.005, -0.02, 0.009, False, Answer.TOO_LITTLE_DATA),  # a verdict would say same: the gain is ruled out
        (-0.005, -0.009, -0.001, True, Answer.SAME),  # real, and too small
        (-0.005, -0.012, -0.001, True, Answer.SAME),
        (0.005, 0.001, 0.012, True, Answer.SAME),
    ],
)
def test_neither_of_the_two_is_favoured(value: float, low: float, high: float, tested: bool, answer: Answer) -> None:
    settled = {"tested": tested, "discordant": 50, "minimum_effect": 0.01}
    assert answer_between(Difference(value, low, high, 1000), **settled) is answer  # type: ignore[arg-type]
    turned = {Answer.BETTER: Answer.WORSE, Answer.WORSE: Answer.BETTER}.get(answer, answer)
    assert answer_between(Difference(-value, -high, -low, 1000), **settled) is turned  # type: ignore[arg-type]


def test_the_answer_in_words() -> None:
    d = Difference(0.02, -0.02, 0.06, 200)
    found = {"metric": "accuracy"}
    assert sentence(Answer.BETTER, found, d, ("x", "y"), 0.01) == "x is better than y, by 2.0\u00a0points accuracy."
    lower = Difference(-2.5, -3.0, -2.0, 200)
    assert sentence(Answer.WORSE, {"metric": "mae"}, lower, ("x", "y"), 0.01) == (
        "y is better than x, by 2.5 mean absolute error."
    )
    assert "About 3,200 rows would; there are 200." in sentence(Answer.TOO_LITTLE_DATA, found, d, ("x", "y"), 0.01)
    assert "1.0\u00a0points or more is ruled out" in sentence(Answer.SAME, found, d, ("x", "y"), 0.01)


@pytest.fixture
def answered() -> tuple[Answered, Answered]:
    """A hundred rows: 60 both right, 30 only A, 6 only B, 4 both wrong in different ways."""
    rows = [
        {
            "file": "/t.csv",
            "line": i + 2,
            "text": f"<row {i}>",
            "label": "yes",
            "prediction": "yes" if i < 90 else "no",
            "arms": {"b": "yes" if i < 60 or 90 <= i < 96 else "perhaps"},
        }
        for i in range(100)
    ]
    return stored_answers("text-classification", rows, []), stored_answers("text-classification", rows, [], "b")


def test_everything_about_two_models(answered: tuple[Answered, Answered]) -> None:
    a, b = answered
    metrics = [Accuracy(), MacroF1(["no", "perhaps", "yes"])]
    settled = {"names": ("<one>", "two"), "minimum_effect": 0.01, "resamples": 200, "seed": 0}
    found = side_by_side(metrics, a, b, list(a.answers), **settled)  # type: ignore[arg-type]
    assert (found["n"], found["metric"], found["answer"]) == (100, "accuracy", "better")
    assert found["wins"] == {"a": 30, "b": 6}
    assert found["difference"]["difference"] == pytest.approx(0.24)
    assert "p_holm" not in found["difference"]
    assert [entry["metric"] for entry in found["comparisons"]] == ["macro-f1"]
    assert found["models"]["a"]["accuracy"]["value"] == 0.9
    assert len(found["rows"]) == EXAMPLES
    assert [row["better"] for row in found["rows"][:13]] == ["a", "b"] * 6 + ["a"]
    page = render_comparison(
        found | {"a": "<one>", "b": "two", "split": "test", "left_out": 3, "seconds": {"a": None, "b": 61.0}}
        | {"seeds": {"a": None, "b": {"metric": "accuracy", "seeds": 3, "mean": 0.9, "deviation": 0.01, "gain": 0.02,
                                      "gain_deviation": 0.005, "same_rows": True}}}
    )  # fmt: skip
    assert "<h1>&lt;one&gt; is better than two, by 24.0\u00a0points accuracy.</h1>" in page
    assert "&lt;row 60&gt;" in page
    assert "<row" not in page
    assert "1 min 1 s" in page
    assert "on average over 3 seeds, standard deviation 1.0\u00a0points; gain +2.0\u00a0points" in page
    assert "3 rows that only one of the two answered" in page


def test_models_that_agree(answered: tuple[Answered, Answered]) -> None:
    a, _ = answered
    settled = {"names": ("x", "y"), "minimum_effect": 0.01, "resamples": 200, "seed": 0}
    found = side_by_side([Accuracy()], a, a, list(a.answers), **settled)  # type: ignore[arg-type]
    assert (found["answer"], found["rows"], found["comparisons"]) == ("too little data", [], [])
    page = render_comparison(
        found | {"a": "x", "b": "y", "split": "/f/new.csv", "left_out": 0, "seconds": {}, "seeds": {}}
    )
    assert "They answer every row alike." in page
    assert "new.csv" in page
