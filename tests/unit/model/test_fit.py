"""Memory counted by hand for small shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from burnish.model import fit
from burnish.model.bases import find_known
from burnish.model.find import find_base
from burnish.model.fit import Learning, Shape, learned_weights, machine_memory, predict_memory, shape_of
from burnish.model.options import ModelOptions

SHAPE = Shape(parameters=1_000 * 8 + 2 * 600, width=8, layers=2, inner=32, heads=2, vocabulary=1_000)
FULL = Learning(method="full")


def test_weights_that_learn_are_counted_by_method() -> None:
    assert learned_weights(SHAPE, FULL) == 9_200
    assert learned_weights(SHAPE, FULL, table_rows=100) == 9_200 - 900 * 8
    assert learned_weights(SHAPE, Learning(method="freeze", amount=1)) == 600
    # rank 4 beside four matrices of 8 x 8 and two of 8 x 32, in each of two layers
    assert learned_weights(SHAPE, Learning(method="lora", amount=4)) == 2 * 4 * (4 * 16 + 2 * 40)
    assert learned_weights(SHAPE, Learning(method="adapter", amount=3)) == 2 * 2 * 2 * 3 * 8
    assert learned_weights(SHAPE, Learning(method="prompt-tuning", amount=5)) == 40
    assert learned_weights(SHAPE, Learning(method="ia3")) == 2 * (8 + 8 + 32)
    assert learned_weights(SHAPE, Learning(method="head")) == 0


def test_each_weight_that_learns_costs_sixteen_bytes_with_an_average() -> None:
    found = predict_memory(SHAPE, FULL, tokens=10, longest=5)
    assert (found.weights, found.gradients, found.optimizer) == (36_800, 36_800, 110_400)
    plain = predict_memory(SHAPE, Learning(method="full", averaged=False), tokens=10, longest=5)
    assert plain.optimizer == 73_600
    assert found.total == sum(found.parts().values()) == found.as_dict()["total"]


def test_activations_grow_with_tokens_and_shrink_with_precision() -> None:
    once, twice = (predict_memory(SHAPE, FULL, tokens=n, longest=5).activations for n in (100, 200))
    assert once == 100 * 2 * 4 * (10 * 8 + 2.25 * 32 + 2.2 * 5 * 2)
    assert twice == 2 * once
    assert predict_memory(SHAPE, FULL, tokens=100, longest=5, precision="bf16").activations == int(0.6 * once)


def test_methods_differ_in_what_they_keep() -> None:
    kept = {
        name: predict_memory(SHAPE, Learning(method=name, amount=1), tokens=100, longest=5).activations
        for name in ("head", "freeze", "full", "lora")
    }
    assert kept["head"] < kept["freeze"] <= kept["full"] < kept["lora"]


def test_four_bits_shrink_all_but_the_table() -> None:
    found = predict_memory(SHAPE, Learning(method="qlora", amount=4), tokens=10, longest=5)
    assert found.weights == int(1_200 * fit.NF4_BYTES) + 32_000


def test_images_are_counted_one_by_one() -> None:
    shape = Shape(parameters=1_000, width=8, layers=2, inner=0, heads=1, floats_per_image=500)
    assert predict_memory(shape, FULL, tokens=36, longest=36, rows_at_once=4).activations == 8_000


def test_a_shape_is_read_from_config_alone(
    make_base: Callable[..., Path], make_image_base: Callable[..., Path]
) -> None:
    found = find_base(ModelOptions(base=str(make_base())), recipe_folder=Path(), runs=Path())
    shape = shape_of(found)
    assert (shape.width, shape.layers, shape.inner, shape.heads, shape.writes) == (16, 2, 32, 2, False)
    convolves = find_base(ModelOptions(base=str(make_image_base("resnet"))), recipe_folder=Path(), runs=Path())
    assert shape_of(convolves).floats_per_image > 32 * 32 * 8


def test_both_stacks_of_a_base_are_counted(make_seq2seq_base: Callable[..., Path]) -> None:
    for family in ("t5", "bart"):
        options = ModelOptions(base=str(make_seq2seq_base(family=family)))
        shape = shape_of(find_base(options, recipe_folder=Path(), runs=Path()))
        assert (shape.layers, shape.writes) == (4, True)


def test_a_base_of_the_catalogue_has_a_shape_without_a_folder() -> None:
    known = find_known("mistralai/Mistral-7B-Instruct-v0.3")
    assert known is not None
    shape = shape_of(known)
    gigabytes = predict_memory(shape, Learning(method="full"), tokens=1_024, longest=256).total / 1e9
    assert gigabytes > 7.2 * (4 + 16), "sixteen bytes for each weight and the weights themselves"


def test_the_memory_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert machine_memory() == (1_000_000, 600_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory()[0] == psutil.virtual_memory().total
