"""Which folders are opened without transformers; that the numbers are the same is in tests/parity/test_bert.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.model.bert import WEIGHTS, open_bert
from burnish.storage.tensors import load_tensors, save_tensors

Make = Callable[..., Any]


def with_settings(folder: Path, **settings: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | settings), encoding="utf-8")
    return folder


def test_a_plain_folder_is_opened_in_float32(make_base: Make) -> None:
    folder = make_base()
    save_tensors(folder / WEIGHTS, {name: w.half() for name, w in load_tensors(folder / WEIGHTS).items()})
    model = open_bert(folder)
    assert model is not None
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_heads_beside_the_encoder_are_left_alone(make_base: Make) -> None:
    folder = make_base()
    weights = load_tensors(folder / WEIGHTS)
    save_tensors(
        folder / WEIGHTS, {**{f"bert.{name}": w for name, w in weights.items()}, "cls.predictions.bias": torch.ones(3)}
    )
    model = open_bert(folder)
    assert model is not None
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"add_cross_attention": True},
        {"chunk_size_feed_forward": 4},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"num_attention_heads": 3},  # do not share the width
        {"num_hidden_layers": 3},  # more than there are weights of
        {"intermediate_size": 48},  # not the size of the weights
        {"hidden_size": "wide"},
    ],
)
def test_what_it_does_not_know_is_for_transformers(make_base: Make, settings: dict[str, Any]) -> None:
    assert open_bert(with_settings(make_base(), **settings)) is None


def test_weights_in_several_files_or_damaged_are_for_transformers(make_base: Make) -> None:
    folder = make_base()
    (folder / WEIGHTS).write_bytes(b"nothing")
    assert open_bert(folder) is None
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    assert open_bert(folder) is None


def test_an_attention_that_nobody_registered_is_refused(make_base: Make) -> None:
    model = open_bert(make_base())
    assert model is not None
    with pytest.raises(ValueError, match="no attention function is called flash"):
        model.set_attn_implementation("flash")
