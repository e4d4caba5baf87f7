"""Two runs are compared by every byte and number, the clock aside; what differs is named with its size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from burnish.evaluation.reproduction import (
    compare_files,
    compare_numbers,
    compare_predictions,
    compare_steps,
    compare_weights,
)
from burnish.storage.tensors import save_tensors


def folder(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_files_are_compared_by_their_bytes(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", a="1", b="2", c="3")
    two = folder(tmp_path / "two", a="1", b="x", d="4")
    assert compare_files(one, one) == {"same": True, "count": 3, "different": [], "missing": [], "added": []}
    found = compare_files(one, two)
    assert (found["same"], found["different"], found["missing"], found["added"]) == (False, ["b"], ["c"], ["d"])


def test_the_list_of_hashes_is_no_difference_of_its_own(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one", a="1"), folder(tmp_path / "two", a="1")
    (one / "files.json").write_text("{}")
    (two / "files.json").write_text('{"a": 1}')
    assert compare_files(one, two)["same"]


def test_the_largest_difference_of_a_weight_is_named_with_its_tensor(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two")
    same = {"alike": torch.ones(2), "near": torch.zeros(3), "whole": torch.tensor([1, 2])}
    save_tensors(one / "model.safetensors", {**same, "far": torch.tensor([1.0, 2.0]), "gone": torch.ones(1)})
    moved = {"near": torch.tensor([0.0, 0.0, 1e-7]), "far": torch.tensor([1.0, 2.5]), "whole": torch.tensor([1, 2])}
    save_tensors(two / "model.safetensors", {**same, **moved})
    assert compare_weights(one, two, ["model.safetensors", "model.json"]) == {
        "largest": 0.5,
        "file": "model.safetensors",
        "tensor": "far",
        "tensors": 2,
        "of": 5,
        "other": ["gone"],
    }
    assert compare_weights(one, two, ["model.json"]) is None


def test_weights_of_another_shape_or_type_are_not_subtracted(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two")
    save_tensors(one / "m.safetensors", {"shape": torch.ones(2), "type": torch.ones(2)})
    save_tensors(two / "m.safetensors", {"shape": torch.ones(3), "type": torch.ones(2, dtype=torch.float64)})
    found = compare_weights(one, two, ["m.safetensors"])
    assert found is not None
    assert (found["largest"], found["tensor"], found["other"]) == (None, None, ["shape", "type"])


def test_steps_are_compared_without_the_clock() -> None:
    one = [{"step": 10, "loss": 0.5, "rows_per_second": 7.0}, {"step": 20, "loss": 0.25, "tokens_per_second": 1.0}]
    two = [{"step": 10, "loss": 0.5, "rows_per_second": 9.0}, {"step": 20, "loss": 0.26}]
    assert compare_steps(one[:1], two[:1])["same"]
    found = compare_steps(one, two)
    assert (found["same"], found["first_step"], found["what"]) == (False, 20, {"loss": [0.25, 0.26]})


def test_a_training_that_ended_earlier_differs_where_it_ended() -> None:
    found = compare_steps([{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.4}], [{"step": 10, "loss": 0.5}])
    assert (found["lines"], found["first_step"], found["what"]["loss"]) == ([2, 1], 20, [0.4, None])


def test_numbers_of_the_tuned_model_come_first() -> None:
    one = {"arms": {"a": {"seconds": 1.0, "x": 1}}, "models": {"tuned": {"accuracy": {"value": 0.9}}}, "opened": 1}
    two = {"arms": {"a": {"seconds": 2.0, "x": 2}}, "models": {"tuned": {"accuracy": {"value": 0.8}}}, "opened": 5}
    assert compare_numbers(one, one)["same"]
    found = compare_numbers(one, two)
    assert (found["count"], found["different"]) == (2, 2)
    assert found["shown"] == [
        {"where": "models.tuned.accuracy.value", "before": 0.9, "after": 0.8},
        {"where": "arms.a.x", "before": 1, "after": 2},
    ]


def test_not_a_number_is_like_itself() -> None:
    assert compare_numbers({"a": [float("nan")]}, {"a": [float("nan")]})["same"]
    assert not compare_numbers({"a": [float("nan")]}, {"a": [1.0]})["same"]


def test_flipped_answers_are_counted_apart_from_moved_numbers() -> None:
    one = [
        {"file": "/a/t.csv", "line": 2, "text": "x", "prediction": "p", "probability": 0.75},
        {"file": "/a/t.csv", "line": 3, "text": "y", "prediction": "p", "probability": 0.5},
        {"file": "/a/t.csv", "line": 4, "text": "z", "prediction": "p", "probability": 1.0},
    ]
    two = [
        {"file": "/b/t.jsonl", "line": 2, "text": "x", "prediction": "p", "probability": 0.5},
        {"file": "/b/t.jsonl", "line": 3, "text": "y", "prediction": "q", "probability": 0.5},
        {"file": "/b/t.jsonl", "line": 4, "text": "z", "prediction": "p", "probability": 1.0},
    ]
    found = compare_predictions(one, two)
    assert (found["rows"], found["different"], found["flipped"], found["largest"]) == ([3, 3], 2, 1, 0.25)
    assert found["shown"] == [{"text": "y", "before": "p", "after": "q"}]
    assert not compare_predictions(one, one[:2])["same"]


@pytest.mark.parametrize(("before", "after", "flipped"), [(1.5, 1.75, 0), ("a", "b", 1)])
def test_a_predicted_number_moves_and_an_answer_flips(before: object, after: object, flipped: int) -> None:
    found = compare_predictions([{"prediction": before}], [{"prediction": after}])
    assert (found["different"], found["flipped"]) == (1, flipped)
