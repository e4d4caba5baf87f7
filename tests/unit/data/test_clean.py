"""Values are checked and never changed in silence; labels mean one thing each."""

from __future__ import annotations

import pytest

from burnish.data.clean import check_bad_rows, check_label_sets, check_labels, settle_label_variants, to_examples
from burnish.data.options import DataOptions
from burnish.data.source import Record
from burnish.errors import DataProblemError
from burnish.types import Example, Origin, Problem

COLUMNS = {"text": "body", "label": "intent"}
WANTED = {"text": str, "label": str}
PLACE = Origin("rows.csv", 7)


def cleaned(values: dict[str, object], **label_map: str) -> Example | Problem:
    options = DataOptions(train="rows.csv", label_map=label_map)
    (item,) = to_examples([Record(values, PLACE)], COLUMNS, WANTED, options)
    return item


def labelled(*labels: str) -> list[Example]:
    return [Example({"text": f"t{i}", "label": x}, Origin("rows.csv", i)) for i, x in enumerate(labels, start=2)]


def test_only_the_canonical_columns_come_out_and_texts_stay_as_they_are() -> None:
    item = cleaned({"id": 3, "body": " two  \r\n lines\u00a0", "intent": "a"})
    assert item == Example({"text": " two  \r\n lines\u00a0", "label": "a"}, PLACE)


@pytest.mark.parametrize(
    ("value", "label"), [(1, "1"), (0.5, "0.5"), (1.0, "1.0"), (True, "true"), (False, "false"), (" a ", " a ")]
)
def test_labels_become_what_the_file_says(value: object, label: str) -> None:
    assert cleaned({"body": "x", "intent": value}) == Example({"text": "x", "label": label}, PLACE)


def test_label_map() -> None:
    assert cleaned({"body": "refnd", "intent": "refnd"}, refnd="refund") == Example(
        {"text": "refnd", "label": "refund"}, PLACE
    )


@pytest.mark.parametrize(
    ("values", "code", "reason", "column"),
    [
        ({"body": "", "intent": "a"}, "data/empty-text", "the text is empty", "body"),
        ({"body": " \t\u2003", "intent": "a"}, "data/empty-text", "the text is empty", "body"),
        ({"body": None, "intent": "a"}, "data/empty-text", "the text is missing", "body"),
        ({"intent": "a"}, "data/empty-text", "the text is missing", "body"),
        ({"body": "x", "intent": " "}, "data/empty-label", "the label is empty", "intent"),
        ({"body": "x", "intent": None}, "data/empty-label", "the label is missing", "intent"),
        ({"body": 3, "intent": "a"}, "data/wrong-type", "the text is of type int, not str", "body"),
        ({"body": "x", "intent": ["a"]}, "data/wrong-type", "the label is of type list, not str", "intent"),
    ],
)
def test_wrong_values(values: dict[str, object], code: str, reason: str, column: str) -> None:
    item = cleaned(values)
    assert isinstance(item, Problem)
    assert (item.code, item.reason, item.column, item.origin) == (code, reason, column, PLACE)


def test_problems_pass_through() -> None:
    problem = Problem("data/ragged-row", "too short", PLACE)
    assert list(to_examples([problem], COLUMNS, WANTED, DataOptions(train="x"))) == [problem]


def test_label_variants_stop_the_run_with_the_lines_to_write() -> None:
    with pytest.raises(DataProblemError) as caught:
        settle_label_variants(labelled("ham", "Ham", "spam", "ham", " ham ", "spam"), merge=False)
    error = caught.value
    assert (error.code, error.where) == ("data/label-variants", "rows.csv:3")
    assert error.message == "3 labels differ only by case or whitespace"
    assert error.details == (
        '"ham": 2 rows, first rows.csv:2',
        '" ham ": 1 rows, first rows.csv:6',
        '"Ham": 1 rows, first rows.csv:3',
    )
    assert error.hint == (
        '`data: {label_map: {" ham ": "ham", "Ham": "ham"}}`, or `data: {merge_label_variants: true}`'
    )


def test_label_variants_are_merged_into_the_most_frequent_spelling() -> None:
    mapping, notes = settle_label_variants(labelled("new  card", "New Card", "New Card", "other"), merge=True)
    assert mapping == {"new  card": "New Card"}
    assert notes == ['label "new  card" (1 rows) merged into "New Card"']


def test_composed_and_decomposed_labels_are_variants() -> None:
    mapping, _ = settle_label_variants(labelled("café", "cafe\u0301", "café"), merge=True)
    assert mapping == {"cafe\u0301": "café"}


@pytest.mark.parametrize("merge", [True, False])
def test_labels_without_variants(merge: bool) -> None:
    assert settle_label_variants(labelled("ham", "spam", "hams"), merge=merge) == ({}, [])


def test_one_class() -> None:
    with pytest.raises(DataProblemError) as caught:
        check_labels(labelled("ham", "ham"))
    error = caught.value
    assert (error.code, error.where) == ("data/one-class", "rows.csv:2")
    assert error.message == 'all 2 rows have the label "ham": there is nothing to tell apart'


@pytest.mark.parametrize(
    ("column", "answers", "message"),
    [
        ("tags", [["O", "O"], ["O"]], 'all tokens of 2 rows have the tag "O": there is nothing to tell apart'),
        ("labels", [[], []], "all texts of 2 rows have no label: there is nothing to tell apart"),
        ("labels", [["a", "b"]], 'all texts of 1 rows have the labels "a", "b": there is nothing to tell apart'),
    ],
)
def test_one_answer_for_every_row(column: str, answers: list[list[str]], message: str) -> None:
    with pytest.raises(DataProblemError) as caught:
        check_label_sets([Example({column: a}, Origin("rows.jsonl", i + 1)) for i, a in enumerate(answers)], column)
    error = caught.value
    assert (error.code, error.where, error.message) == ("data/one-class", "rows.jsonl:1", message)
    assert f"another column may hold the {column}" in str(error.hint)


def test_answers_that_differ() -> None:
    rows = [Example({"tags": ["O", "B-x"], "labels": labels}, Origin("r", 1)) for labels in ([], ["a"])]
    check_label_sets(rows, "tags")
    check_label_sets(rows, "labels")


def test_class_with_one_row_is_a_warning() -> None:
    assert check_labels(labelled("ham", "spam", "ham")) == [
        'label "spam" has one row: it can be learned from, but not judged'
    ]
    assert check_labels(labelled("ham", "spam", "ham", "spam")) == []


def problems(count: int) -> list[Problem]:
    return [
        Problem("data/empty-text" if i % 3 else "data/ragged-row", "is odd", Origin("rows.csv", i + 2))
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("bad", "rows", "stops"),
    [(0, 0, False), (1, 19, False), (1, 1, False), (2, 19, True), (1, 20, False), (2, 20, True), (5, 100, False)],
)
def test_how_many_bad_rows_are_tolerated(bad: int, rows: int, stops: bool) -> None:
    if stops:
        with pytest.raises(DataProblemError, match="cannot be used"):
            check_bad_rows(problems(bad), rows, 0.05)
    else:
        check_bad_rows(problems(bad), rows, 0.05)


def test_too_many_bad_rows_counts_reasons_and_shows_the_first_places() -> None:
    with pytest.raises(DataProblemError) as caught:
        check_bad_rows(problems(12), 100, 0.05)
    error = caught.value
    assert (error.code, error.where) == ("data/too-many-bad-rows", "rows.csv:2")
    assert error.message == "12 of 100 rows cannot be used, 5 are tolerated"
    assert error.details[:3] == ("8 rows: data/empty-text", "4 rows: data/ragged-row", "rows.csv:2: is odd")
    assert len(error.details) == 2 + 10
    assert error.hint == "repair the rows, or tolerate more of them: `data: {max_bad_ratio: 0.12}`"
