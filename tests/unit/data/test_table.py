"""How the cells of a table become numbers and ids."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from burnish.data.options import TableOptions
from burnish.data.table import FIRST_VALUE, MISSING, UNKNOWN, Table, cell
from burnish.data.table_columns import fit_table
from burnish.errors import ModelError


def rows_of(**columns: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


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


def test_parts_of_dates() -> None:
    dates = [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}T{i % 24:02d}:00" for i in range(40)]
    table = fit_table(rows_of(at=dates, y=["a", "b"] * 20), TableOptions())
    found = dict(zip([n.part for n in table.numbers], table.number_cells([{"at": "2024-03-04T06:00"}])[0], strict=True))
    assert found == {"month": 3, "day": 4, "weekday": 0, "hour": 6, "days": 19786.25}


def test_a_table_comes_back_from_json() -> None:
    columns = {"plan": ["a", "b"] * 9, "x": [*range(17), None], "at": [f"2025-01-{1 + i:02d}" for i in range(18)]}
    table = fit_table(rows_of(**columns), TableOptions())
    assert (len(table.numbers), len(table.categories), len(table.missing)) == (4, 1, 1)
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
