"""What the columns of a table are."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.data.options import TableOptions
from burnish.data.table import Category, Number
from burnish.data.table_columns import fit_table, kind_of
from burnish.errors import RecipeError


def rows_of(**columns: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """24 rows as a CSV file gives them, and a JSON number among them."""
    count = range(24)
    return rows_of(
        customer=[f"c-{i}" for i in count],
        row=[str(i + 100) for i in count],
        plan=["basic", "plus", "pro"] * 8,
        usage=["" if i == 5 else str(i / 2) for i in count],
        seats=[i % 4 for i in count],
        since=[f"2025-{1 + i % 12:02d}-{1 + i:02d}" for i in count],
        country=["NL"] * 24,
        remark=[None] * 24,
    )


def test_every_column_is_something_or_left_out_with_a_reason(rows: list[dict[str, Any]]) -> None:
    table = fit_table(rows, TableOptions())
    assert [(number.column, number.part) for number in table.numbers] == [
        ("usage", None),
        ("seats", None),
        ("since", "month"),
        ("since", "day"),
        ("since", "weekday"),
        ("since", "days"),
    ]
    assert table.categories == (Category("plan", ("basic", "plus", "pro")),)
    assert table.left_out == {
        "customer": "has another value in nearly every row",
        "row": "numbers the rows",
        "country": "holds one value only",
        "remark": "is empty",
    }
    assert table.missing == {"usage": 1}
    assert table.columns == ("usage", "seats", "since", "plan")
    assert table.describe() == (
        '6 numbers and 1 categories are read; left out: "customer" has another value in nearly every row; "row" '
        'numbers the rows; "country" holds one value only; "remark" is empty; missing cells: "usage" 1'
    )


def test_the_recipe_has_the_last_word(rows: list[dict[str, Any]]) -> None:
    options = TableOptions(categorical=("seats",), numeric=("row",), drop=("since",))
    table = fit_table(rows, options)
    assert [number.column for number in table.numbers] == ["row", "usage"]
    assert [category.values for category in table.categories] == [("basic", "plus", "pro"), ("0", "1", "2", "3")]
    assert table.left_out["since"] == "as table.drop says"


def test_few_rows_make_no_identifier() -> None:
    assert kind_of("name", ["Ann", "Bo", "Cy"]) == "category"
    assert kind_of("id", ["1", "2", "4"]) == "number"


@pytest.mark.parametrize(
    ("column", "step", "kind"),
    [("order id", 7, "numbers the rows"), ("price", 7, "number"), ("price", 1, "numbers the rows")],
)
def test_whole_numbers_that_never_repeat_name_the_rows_where_they_count_or_are_called_so(
    column: str, step: int, kind: str
) -> None:
    assert kind_of(column, [str(step * i) for i in range(30)]) == kind


def test_values_that_come_often_keep_the_middle_of_their_share() -> None:
    number = fit_table(rows_of(x=["0"] * 75 + ["1"] * 25, y=["a", "b"] * 50), TableOptions()).numbers[0]
    assert number == Number("x", None, (0.0, 1.0), (0.375, 0.875))


def test_an_unknown_column_is_refused_with_the_nearest_one(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(RecipeError) as caught:
        fit_table(rows, TableOptions(categorical=("paln",)))
    assert caught.value.code == "recipe/unknown-table-column"
    assert caught.value.where == "table.categorical"
    assert "plan" in caught.value.known
    assert caught.value.hint == 'did you mean "plan"?'


def test_a_table_without_columns_says_why_each_is_left_out() -> None:
    with pytest.raises(RecipeError) as caught:
        fit_table(rows_of(name=[f"n{i}" for i in range(30)], one=["1"] * 30), TableOptions())
    assert caught.value.code == "recipe/no-table-columns"
    assert caught.value.known == ("name (has another value in nearly every row)", "one (holds one value only)")
    assert caught.value.hint == "name the columns that tell something: `table: {categorical: [COLUMN]}`"
