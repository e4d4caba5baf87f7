"""What the monitor sees of rows of each kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from burnish.data.options import TableOptions
from burnish.data.table_columns import fit_table
from burnish.lifecycle.observe import cut, input_text, recorded, table_sample, text_sample

VECTORS = np.eye(2, dtype=np.float32)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"text": "a", "label": "b"}, "a"),
        ({"first": "a", "second": "b", "score": 1.0}, "a\nb"),
        ({"question": "q", "context": "c", "answers": []}, "q\nc"),
        ({"tokens": ["a", "b"], "tags": ["O", "O"]}, "a b"),
        ({"source": "s", "target": "t"}, "s"),
        ({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}, "u"),
        ({"prompt": [{"role": "system", "content": None}, {"role": "user", "content": "u"}], "chosen": []}, "\nu"),
    ],
)
def test_the_input_is_what_the_model_is_asked(row: dict[str, Any], text: str) -> None:
    assert input_text(row) == text


def test_a_cut_is_drawn_once_and_in_order() -> None:
    assert cut(3, 5, seed=0) == [0, 1, 2]
    chosen = cut(100, 10, seed=0)
    assert chosen == cut(100, 10, seed=0) == sorted(set(chosen))
    assert len(chosen) == 10
    assert chosen != cut(100, 10, seed=1)


def test_predictions_are_written_as_those_of_a_run() -> None:
    assert recorded({"label": "a", "probability": 0.9, "margin": 2.0}, "b") == {
        "prediction": "a",
        "probability": 0.9,
        "label": "b",
    }
    assert recorded({"score": 1.5})["prediction"] == 1.5
    assert recorded({"value": 2.5}, 2.0) == {"prediction": 2.5, "probability": None, "label": 2.0}
    several = recorded({"labels": ["b", "a"], "probabilities": {"a": 0.9, "b": 0.6, "c": 0.2}}, ["c", "a"])
    assert several == {"prediction": "a; b", "probability": 0.6, "label": "a; c"}
    assert recorded({"tags": ["O", "O"], "probabilities": [0.9, 0.7]})["probability"] == 0.7


def test_texts_have_lengths_confidences_and_classes() -> None:
    rows = [{"text": "abc"}, {"text": "a"}]
    said = [
        {"prediction": "x", "probability": 0.9, "label": "x"},
        {"prediction": "y", "probability": 0.5, "label": "x"},
    ]
    found = text_sample("text-classification", rows, VECTORS, said)
    assert found.numbers["length"].tolist() == [3, 1]
    assert found.numbers["confidence"].tolist() == [0.9, 0.5]
    assert found.kinds == {"prediction": ["x", "y"], "label": ["x", "x"]}


def test_without_labels_there_are_none() -> None:
    said = [recorded({"label": "x", "probability": 0.9})] * 2
    assert set(text_sample("text-classification", [{"text": "a"}] * 2, VECTORS, said).kinds) == {"prediction"}


def test_numbers_are_compared_as_numbers() -> None:
    said = [{"prediction": 1.0, "label": 2.0}, {"prediction": 0.5, "label": 0.0}]
    found = text_sample("text-regression", [{"text": "a"}] * 2, VECTORS, said)
    assert found.numbers["prediction"].tolist() == [1.0, 0.5]
    assert found.numbers["label"].tolist() == [2.0, 0.0]
    assert found.kinds == {}


def test_pieces_of_texts_are_not_kept() -> None:
    said = [{"prediction": "person: Ann", "probability": 0.8, "label": "person: Ann"}] * 2
    found = text_sample("token-classification", [{"tokens": ["Ann"]}] * 2, VECTORS, said)
    assert set(found.numbers) == {"length", "confidence"}
    assert not json.dumps(dict(found.kinds)).count("Ann")


def test_of_a_model_that_writes_only_the_prompt_is_seen() -> None:
    found = text_sample("chat", [{"messages": [{"role": "user", "content": "hi"}]}] * 2, VECTORS, [])
    assert set(found.numbers) == {"length"}
    assert found.kinds == {}


def test_a_table_is_seen_by_its_columns() -> None:
    rows = [{"age": str(20 + 3 * i % 41 + (i % 4) / 4), "plan": "ab"[i % 2]} for i in range(40)]
    table = fit_table(rows, TableOptions())
    found = table_sample(table, [{"age": "30", "plan": "a"}, {"age": "", "plan": None}], [])
    assert found.vectors is None
    assert found.numbers["column age"].tolist() == [30.0, -np.inf]
    assert found.kinds == {"column plan": ["a", "(missing)"]}
