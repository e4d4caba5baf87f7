"""What the columns of a table are, and how their cells become numbers and ids."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from burnish.data.options import TableOptions
from burnish.data.table import FIRST_VALUE, MISSING, UNKNOWN, Category, Number, Table, cell, fit_table, kind_of
from burnish.errors import ModelError, RecipeError


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


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (" 12 ", "12"),
        ("N/A", None),
        ("", None),
        (" ", None),
        ("?", None),
        (None, None),
        (float("nan"), None),
        (True, "true"),
        (3, 3.0),
        ([1], "[1]"),
        ("none", "none"),
    ],
)
def test_what_a_cell_says(value: object, said: object) -> None:
    assert cell(value) == said


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


def test_cells_of_another_kind_count_as_missing_and_are_counted() -> None:
    table = fit_table(rows_of(total=[*map(str, range(50)), "broken", " "], odd=["a", "b"] * 26), TableOptions())
    assert table.missing == {"total": 2}
    assert np.isnan(table.number_cells([{"total": "broken"}, {}, {"total": "1e3"}])[:, 0]).tolist() == [
        True,
        True,
        False,
    ]


def test_ids_of_categories_tell_unknown_from_missing() -> None:
    table = fit_table(rows_of(plan=["b", "a"] * 4 + ["rare", None], size=list(range(10))), TableOptions())
    ids = table.category_ids([{"plan": "a"}, {"plan": " b "}, {"plan": "rare"}, {"plan": "new"}, {"plan": ""}, {}])
    assert ids[:, 0].tolist() == [FIRST_VALUE, FIRST_VALUE + 1, UNKNOWN, UNKNOWN, MISSING, MISSING]


def test_scaled_numbers_are_normal_quantiles_of_the_training_values() -> None:
    random = np.random.default_rng(0)
    values = np.exp(random.normal(0, 2, 5_000))
    table = fit_table([{"x": value, "y": "ab"[i % 2]} for i, value in enumerate(values.tolist())], TableOptions())
    found = table.scaled(np.array([[np.exp(2 * z)] for z in (-1.5, -0.5, 0.0, 1.0)] + [[1e9], [math.nan]]))
    assert found[:4, 0] == pytest.approx([-1.5, -0.5, 0.0, 1.0], abs=0.1)
    assert found[4, 0] == pytest.approx(norm.ppf(1 - 1 / 402))  # beyond all training values
    assert found[5, 0] == 0


def test_values_that_come_often_keep_the_middle_of_their_share() -> None:
    number = fit_table(rows_of(x=["0"] * 75 + ["1"] * 25, y=["a", "b"] * 50), TableOptions()).numbers[0]
    assert number == Number("x", None, (0.0, 1.0), (0.375, 0.875))


def test_parts_of_dates() -> None:
    dates = [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}T{i % 24:02d}:00" for i in range(40)]
    table = fit_table(rows_of(at=dates, y=["a", "b"] * 20), TableOptions())
    found = dict(zip([n.part for n in table.numbers], table.number_cells([{"at": "2024-03-04T06:00"}])[0], strict=True))
    assert found == {"month": 3, "day": 4, "weekday": 0, "hour": 6, "days": 19786.25}


def test_a_table_comes_back_from_json(rows: list[dict[str, Any]]) -> None:
    table = fit_table(rows, TableOptions())
    again = Table.from_dict(json.loads(json.dumps(table.as_dict())), "model.json")
    assert again == table


@pytest.mark.parametrize(
    "content",
    [{}, {"numbers": 3}, {"numbers": [{"column": "a", "part": "decade", "knots": [], "shares": []}], "categories": []}],
)
def test_something_else_than_a_table_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        Table.from_dict(content, "final/model.json")
    assert caught.value.code == "model/bad-file"
    assert caught.value.where == "final/model.json"


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
