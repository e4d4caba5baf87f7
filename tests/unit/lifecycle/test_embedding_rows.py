"""What the rows of an embedding become: pairs to learn from, and what vectors are judged by."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import DataProblemError
from burnish.evaluation.similarity import ScoredTexts, Search
from burnish.lifecycle.embedding_rows import all_texts, learned_pairs, trial_of, validation_pairs
from burnish.types import Example, Origin, Split


def part(*rows: dict[str, Any]) -> list[Example]:
    return [Example(row, Origin("rows.csv", line)) for line, row in enumerate(rows, start=2)]


def labelled(*rows: tuple[str, str]) -> list[Example]:
    return part(*({"text": text, "label": label} for text, label in rows))


TRAIN = labelled(("a", "x"), ("b", "x"), ("c", "y"))
SPLITS = {
    Split.TRAIN: TRAIN,
    Split.VALIDATION: labelled(("d", "y"), ("e", "x")),
    Split.TEST: labelled(("f", "z"), ("g", "x")),
}


def test_texts_with_labels_are_learned_as_pairs() -> None:
    found, problems = learned_pairs(TRAIN, seed=0)
    assert [(example.row["anchor"], example.row["positive"]) for example in found] == [("a", "b"), ("b", "a")]
    assert [example.origin.line for example in found] == [2, 3]
    (problem,) = problems
    assert (problem.code, str(problem.origin)) == ("data/alone", "rows.csv:4")
    assert problem.reason == 'no other text has the label "y"'


def test_pairs_are_learned_as_they_are() -> None:
    rows = part({"anchor": "a", "positive": "b"})
    assert learned_pairs(rows, seed=0) == (rows, [])


def test_no_text_has_another_of_its_label() -> None:
    with pytest.raises(DataProblemError) as caught:
        learned_pairs(labelled(("a", "x"), ("b", "y")), seed=0)
    assert (caught.value.code, caught.value.where) == ("data/no-pairs", "rows.csv:2")
    assert caught.value.message == "none of the 2 texts has another text of its label to belong to"
    assert caught.value.hint == "add rows: at least two per label"


def test_labels_are_judged_by_a_search_in_the_training_rows() -> None:
    trial = trial_of(SPLITS, Split.TEST)
    assert isinstance(trial, Search)
    assert (trial.queries, trial.documents, trial.rows) == (["g"], ["a", "b", "c"], [1])
    assert all_texts(trial) == ["g", "a", "b", "c"]


def test_nothing_can_be_found() -> None:
    with pytest.raises(DataProblemError) as caught:
        trial_of({**SPLITS, Split.TEST: labelled(("f", "z"))}, Split.TEST)
    assert (caught.value.code, caught.value.where) == ("data/no-pairs", "rows.csv:2")
    assert "no label of the test rows is one of the training rows" in caught.value.message


def test_pairs_are_judged_within_their_part() -> None:
    rows = part({"anchor": "a", "positive": "b", "negative": "c"})
    trial = trial_of(dict.fromkeys(Split, rows), Split.TEST)
    assert isinstance(trial, Search)
    assert trial.documents == ["b", "c"]


def test_scores_are_judged_by_themselves() -> None:
    rows = part({"first": "a", "second": "b", "score": 2.0})
    trial = trial_of(dict.fromkeys(Split, rows), Split.TEST)
    assert isinstance(trial, ScoredTexts)
    assert (trial.first, trial.second, trial.references) == (["a"], ["b"], [2.0])


def test_validation_rows_are_compared_with_what_they_are_to_find() -> None:
    found = [example.row for example in validation_pairs(SPLITS, seed=0)]
    assert [(row["anchor"], row["label"]) for row in found] == [("d", "y"), ("e", "x")]
    assert found[0]["positive"] == "c"
    assert found[1]["positive"] in ("a", "b")
