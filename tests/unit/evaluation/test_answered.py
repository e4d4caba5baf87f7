"""Rows of predictions.jsonl of each kind of task, as metrics compare them."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.evaluation.answered import keys_of, kind_of, metrics_of, stored_answers
from burnish.evaluation.metrics.probabilities import OfLikeliest, PrAuc

PLACE = {"file": "/data/a.jsonl", "line": 3}
KEY = ("a.jsonl", 3, 0)

CASES: dict[str, tuple[str, dict[str, Any], Any, Any, Any]] = {  # task, row, reference, answer, answer of the arm
    "label": ("text-classification", {"label": "x", "prediction": "y", "arms": {"m": "x"}}, "x", "y", "x"),
    "branch": (
        "hierarchical-classification",
        {"label": "a/x", "prediction": "a/y", "arms": {"m": "b/x"}},
        "a/x",
        "a/y",
        "b/x",
    ),
    "number": ("text-regression", {"label": 1.5, "prediction": 2.0, "arms": {"m": 0.0}}, 1.5, 2.0, 0.0),
    "labels": (
        "multi-label-classification",
        {"label": "a; b", "prediction": "", "arms": {"m": "a"}},
        ("a", "b"),
        (),
        ("a",),
    ),
    "text": ("chat", {"label": "x", "prediction": "y", "arms": {"m": "z"}}, "x", "y", "z"),
    "loss": ("chat", {"loss": 0.5, "arms": {"m": 0.75}}, "", "0.5", "0.75"),
    "texts": (
        "seq2seq",
        {"label": "x", "references": ["x", "w"], "prediction": "y", "arms": {"m": "z"}},
        ("x", "w"),
        "y",
        "z",
    ),
    "spans": (
        "question-answering",
        {"label": "x", "references": ["x"], "prediction": "y", "arms": {"m": ""}},
        ("x",),
        "y",
        "",
    ),
    "search": ("embedding", {"relevant": 2, "places": [1, 7], "arms": {"m": [3]}}, 2, (1, 7), (3,)),
    "choice": ("recommendation", {"relevant": 1, "places": [], "arms": {"m": [3]}}, 1, (), (3,)),
    "scored": ("embedding", {"score": 0.5, "similarity": 0.25, "arms": {"m": 0.1}}, 0.5, 0.25, 0.1),
}


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("hierarchical-classification", "text-classification"),
        ("recommendation", "embedding"),
        ("tabular", "tabular"),
        ("a task of the caller", "text-classification"),
    ],
)
def test_a_task_is_written_down_as_the_one_it_refines(task: str, kind: str) -> None:
    assert kind_of(task) == kind


@pytest.mark.parametrize("case", CASES)
def test_what_a_row_says_is_what_metrics_compare(case: str) -> None:
    task, row, reference, answer, of_arm = CASES[case]
    rows = [{**PLACE, "text": "asked", **row}]
    tuned = stored_answers(task, rows, ["a", "b"])
    assert (tuned.references, tuned.answers) == ({KEY: reference}, {KEY: answer})
    assert tuned.shown[KEY]["text"] == "asked"
    assert stored_answers(task, rows, ["a", "b"], "m").answers == {KEY: of_arm}


def test_probabilities_and_tags_of_an_arm_are_not_written_down() -> None:
    table = {**PLACE, "label": "y", "prediction": "y", "probabilities": [0.25, 0.75], "arms": {"trees": "n"}}
    found = stored_answers("tabular", [table], ["n", "y"])
    assert (found.answers, found.said) == ({KEY: (0.25, 0.75)}, {KEY: "y"})
    assert stored_answers("tabular", [{**table, "prediction": 2.0}], []).answers == {KEY: 2.0}
    tagged = {**PLACE, "wanted_tags": ["B-x"], "tags": ["O"], "prediction": "", "label": "x: a", "arms": {"m": ""}}
    assert stored_answers("token-classification", [tagged], []).answers == {KEY: ("O",)}
    for task, row, labels in (("tabular", table, ["n", "y"]), ("token-classification", tagged, ["O"])):
        with pytest.raises(LookupError, match="in words only"):
            stored_answers(task, [row], labels, next(iter(row["arms"])))


def test_a_row_without_what_is_needed_is_refused() -> None:
    for row in ({"label": "x"}, {"prediction": "x"}):
        with pytest.raises(LookupError):
            stored_answers("text-classification", [{**PLACE, **row}], [])
    with pytest.raises(LookupError, match="a label holds"):
        stored_answers("multi-label-classification", [{**PLACE, "label": "a; b", "prediction": ""}], ["a; b"])


def test_rows_of_one_line_keep_their_order() -> None:
    assert keys_of([("x/t.csv", 1), ("y/t.csv", 1)]) == [("t.csv", 1, 0), ("t.csv", 1, 1)]


def test_what_is_asked_is_the_conversation_where_there_is_one() -> None:
    asked = [{"role": "user", "content": "hi"}]
    row = {**PLACE, "text": "hi", "label": "x", "prediction": "y"}
    assert stored_answers("chat", [{**row, "conversation": asked}], []).asked == {KEY: asked}
    assert stored_answers("chat", [row], []).asked == {KEY: "hi"}


def test_a_table_is_judged_by_its_probabilities() -> None:
    of_table = metrics_of("tabular", ["pr-auc", "accuracy"], ["n", "y"], "y")
    assert isinstance(of_table[0], PrAuc)
    assert isinstance(of_table[1], OfLikeliest)
    assert [metric.name for metric in metrics_of("tabular", ["mae"], [])] == ["mae"]
    assert metrics_of("text-classification", ["macro-f1"], ["n", "y"])[0].labels == ("n", "y")  # type: ignore[attr-defined]
