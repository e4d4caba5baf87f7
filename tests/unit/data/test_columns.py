"""Columns are taken from the recipe, then from their names, then from their contents; doubts are errors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from burnish.data.columns import check_columns, infer_columns
from burnish.data.options import DataOptions
from burnish.data.source import Record, SourceShape
from burnish.errors import DataReadError
from burnish.types import Origin

WANTED = {"text": str, "label": str}
TEXTS = [f"a long text with number {i} in it" for i in range(6)]


def shape_of(**columns: Sequence[object]) -> SourceShape:
    records = [
        Record(dict(zip(columns, cells, strict=True)), Origin("rows.csv", line))
        for line, cells in enumerate(zip(*columns.values(), strict=True), start=2)
    ]
    return SourceShape(
        name="rows.csv",
        format="csv",
        dialect=None,
        header=True,
        columns=tuple(columns),
        first_line=2,
        sample=tuple(records),
    )


def inferred(shape: SourceShape, columns: dict[str, str] | None = None) -> dict[str, str]:
    return infer_columns(shape, DataOptions(train="rows.csv", columns=columns or {}), WANTED)


def refused(shape: SourceShape, columns: dict[str, str] | None = None) -> DataReadError:
    with pytest.raises(DataReadError) as caught:
        inferred(shape, columns)
    return caught.value


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("text", "label"), {"text": "text", "label": "label"}),
        (("Utterance", "INTENT"), {"text": "Utterance", "label": "INTENT"}),
        (("category", "body", "id"), {"text": "body", "label": "category"}),
        (("message", "text", "label", "topic"), {"text": "text", "label": "label"}),  # the canonical name wins
    ],
)
def test_by_name(names: tuple[str, ...], expected: dict[str, str]) -> None:
    assert inferred(shape_of(**{name: ["x"] for name in names})) == expected


def test_the_recipe_wins() -> None:
    shape = shape_of(text=["x"], label=["y"], body=["z"], topic=["w"])
    assert inferred(shape, {"text": "body"}) == {"text": "body", "label": "label"}
    assert inferred(shape, {"label": "topic", "text": "body"}) == {"text": "body", "label": "topic"}


def test_by_contents() -> None:
    shape = shape_of(column1=[*"ababab"], column2=[*TEXTS], column3=[f"2024-01-0{i}T10:20:30.000000" for i in range(6)])
    assert inferred(shape) == {"text": "column2", "label": "column1"}


def test_by_name_and_contents_together() -> None:
    assert inferred(shape_of(klass=[1, 0, 1, 0, 1, 0], text=[*TEXTS])) == {"text": "text", "label": "klass"}


def test_unknown_column_names_the_nearest() -> None:
    error = refused(shape_of(text=["x"], intent=["y"]), {"label": "intents"})
    assert (error.code, error.where, error.known) == ("data/unknown-column", "rows.csv", ("text", "intent"))
    assert error.message == 'has no column "intents"'
    where = "`data: {columns: {label: intent}}` (or --set data.columns.label=intent)"
    assert error.hint == f"name the column that holds the label: {where}"


def test_a_later_file_must_have_the_columns() -> None:
    with pytest.raises(DataReadError, match='has no column "body"'):
        check_columns(shape_of(text=["x"]), {"text": "body"})


def test_key_the_task_does_not_read() -> None:
    error = refused(shape_of(text=["x"], label=["y"]), {"lable": "label"})
    assert (error.code, error.where) == ("data/unknown-canonical-column", "data.columns")
    assert error.message == 'this task reads no "lable"'
    assert error.known == ("text", "label")
    assert error.hint == "write `data: {columns: {label: label}}`"


def test_two_names_for_one_column_are_unclear() -> None:
    error = refused(shape_of(title=["x"], review=["y"], label=["z"]))
    assert (error.code, error.where, error.known) == ("data/unclear-column", "rows.csv", ("title", "review"))
    assert error.message == "2 columns could hold the text"
    assert error.hint == "write which one: `data: {columns: {text: title}}` (or --set data.columns.text=title)"


def test_two_long_texts_are_unclear() -> None:
    error = refused(shape_of(a=[*TEXTS], b=[*reversed(TEXTS)], label=[*"ababab"]))
    assert (error.message, error.known) == ("2 columns could hold the text", ("a", "b"))


def test_no_column_of_few_values_is_unclear() -> None:
    error = refused(shape_of(text=[*TEXTS], number=[*"123456"], constant=[*"xxxxxx"]))
    assert (error.code, error.message) == ("data/unclear-column", "no column clearly holds the label")
    assert error.known == ("text", "number", "constant")
    assert error.hint == "write which one: `data: {columns: {label: COLUMN}}` (or --set data.columns.label=COLUMN)"


def test_other_canonical_columns_are_found_by_their_own_name() -> None:
    shape = shape_of(question=["q"], Answer=["a"])
    assert infer_columns(shape, DataOptions(train="x"), {"answer": str}) == {"answer": "Answer"}
    with pytest.raises(DataReadError, match="no column clearly holds the prompt"):
        infer_columns(shape, DataOptions(train="x"), {"prompt": str})
