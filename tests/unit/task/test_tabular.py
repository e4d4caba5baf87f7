"""A row of a table as tokens and numbers, and predictions of classes and numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from burnish.data.options import TableOptions
from burnish.data.table_columns import fit_table
from burnish.task.tabular import Tabular
from burnish.types import Encoded, Refusal


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Two numbers and two categories; the ids below follow from their order."""
    return [
        {"age": str(20 + i), "plan": "ab"[i % 2], "paid": "" if i == 3 else str(i / 4), "city": ["x", "y", "z"][i % 3]}
        for i in range(12)
    ]


@pytest.fixture
def task(rows: list[dict[str, Any]]) -> Tabular:
    return Tabular(fit_table(rows, TableOptions()), ("no", "yes"))


def test_tokens_and_numbers_of_a_row(task: Tabular, rows: list[dict[str, Any]]) -> None:
    row = task.encode({"features": rows[3], "target": "yes"})
    assert isinstance(row, Encoded)
    # the row itself; age is there (1), paid is missing (3 + 1); plan b: 5 + 3; city x: 9 + 2
    assert row.token_ids.tolist() == [0, 1, 4, 8, 11]
    assert row.segment_lengths == (5,)
    assert row.targets.tolist() == 1
    assert row.given is not None
    assert row.given[1] == 0.0
    assert row.given[0] < 0
    assert task.vocabulary == 14


def test_many_rows_are_encoded_as_each_alone(task: Tabular, rows: list[dict[str, Any]]) -> None:
    asked = [{"features": row, "target": "no"} for row in rows]
    for one, other in zip(task.encode_all(asked), map(task.encode, asked), strict=True):
        assert isinstance(one, Encoded)
        assert isinstance(other, Encoded)
        assert np.array_equal(one.token_ids, other.token_ids)
        assert np.array_equal(one.given, other.given)  # type: ignore[arg-type]


def test_a_label_that_nobody_knows_is_refused_with_the_nearest(task: Tabular, rows: list[dict[str, Any]]) -> None:
    refused = task.encode({"features": rows[0], "target": "yess"})
    assert refused == Refusal("data/unknown-label", '"yess" is no label of this model, did you mean "yes"?')


def test_the_target_may_be_absent(task: Tabular, rows: list[dict[str, Any]]) -> None:
    row = task.encode({"features": rows[0]})
    assert isinstance(row, Encoded)
    assert row.targets.tolist() == -1


class Outputs(torch.nn.Module):
    """Gives what it holds."""

    def __init__(self, outputs: list[list[float]]) -> None:
        super().__init__()
        self.outputs = torch.tensor(outputs)

    def forward(self, _: Any) -> torch.Tensor:
        return self.outputs


def test_loss_and_prediction_of_classes_by_hand(task: Tabular) -> None:
    model = Outputs([[0.0, 0.0], [2.0, 0.0]])
    batch: Any = SimpleNamespace(targets=torch.tensor([1, 0]), row_count=2)
    term = task.loss(model.eval(), batch)
    assert float(term.total) == pytest.approx(np.log(2) + np.log(1 + np.exp(-2)))
    assert term.weight == 2.0
    first, second = task.predict(model, batch)
    assert first == {"label": "no", "probability": 0.5, "probabilities": [0.5, 0.5]}
    assert second["probability"] == pytest.approx(1 / (1 + np.exp(-2)))


def test_classes_count_by_their_weight_while_the_model_trains(rows: list[dict[str, Any]]) -> None:
    table = fit_table(rows, TableOptions())
    task = Tabular(table, ("no", "yes"), class_weights={"yes": 3.0})
    model = Outputs([[0.0, 0.0], [0.0, 0.0]])
    batch: Any = SimpleNamespace(targets=torch.tensor([1, 0]), row_count=2)
    assert float(task.loss(model.train(), batch).total) == pytest.approx(4 * np.log(2))
    assert float(task.loss(model.eval(), batch).total) == pytest.approx(2 * np.log(2))


def test_numbers_are_learned_in_spreads_and_said_in_their_unit(rows: list[dict[str, Any]]) -> None:
    task = Tabular(fit_table(rows, TableOptions()), centre=100.0, spread=10.0)
    row = task.encode({"features": rows[0], "target": 120.0})
    assert isinstance(row, Encoded)
    assert row.targets.tolist() == 2.0
    batch: Any = SimpleNamespace(targets=torch.tensor([2.0, 0.0], dtype=torch.float64), row_count=2)
    model = Outputs([[1.0], [-2.0]])
    assert float(task.loss(model, batch).total) == pytest.approx((1 + 4) / 2)
    assert task.predict(model, batch) == [{"value": 110.0}, {"value": 80.0}]
