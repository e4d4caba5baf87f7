"""BERT without transformers is BERT: the same hidden states and gradients to the bit, and the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel

from burnish.engine.layout import LaidOut
from burnish.engine.layout_choice import choose_layout
from burnish.engine.segments import ATTENTION
from burnish.model.bert import Bert, open_bert
from burnish.model.find import find_base
from burnish.model.load import load_encoder
from burnish.model.options import ModelOptions
from burnish.types import Encoded

Make = Callable[..., Any]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(make_base: Make) -> Path:
    found: Path = make_base(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-5)
    return found


@pytest.fixture(scope="module")
def both(folder: Path, make_rows: Make) -> tuple[nn.Module, nn.Module, list[Encoded]]:
    """Ours, theirs, and rows of different length; both can attend by segments."""
    base = find_base(ModelOptions(base=str(folder)), recipe_folder=Path(), runs=Path("absent"))
    rows: list[Encoded] = make_rows([3, 12, 7, 12])
    ours, theirs = load_encoder(base, unaltered=True), load_encoder(base)
    assert isinstance(ours, Bert)
    assert not isinstance(theirs, Bert)
    layouts = [choose_layout(model, rows, device=CPU) for model in (ours, theirs)]
    assert layouts[0] == layouts[1]
    assert not layouts[0].padded
    return ours, theirs, rows


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("at", ["all", "first"])
def test_hidden_states_and_gradients(both: tuple[Any, Any, list[Encoded]], padded: bool, at: Any) -> None:
    *models, rows = both
    states, gradients = [], []
    for model in models:
        model.set_attn_implementation("sdpa" if padded else ATTENTION)
        model.train().zero_grad()
        hidden = LaidOut(rows, range(len(rows)), padded=padded, device=CPU).hidden(model, at=at)
        hidden.square().sum().backward()
        states.append(hidden.detach())
        gradients.append({name: w.grad for name, w in model.named_parameters() if w.grad is not None})
    assert torch.equal(*states)
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())


def test_texts_of_pairs_are_told_apart(both: tuple[Any, Any, list[Encoded]]) -> None:
    ids = torch.tensor([[2, 6, 7, 3, 8, 9, 3]])
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    states = []
    for model in both[:2]:
        model.set_attn_implementation("sdpa")
        with torch.no_grad():
            states.append(model.eval()(input_ids=ids, token_type_ids=types).last_hidden_state)
    assert torch.equal(*states)


def test_transformers_opens_what_it_saves(folder: Path, tmp_path: Path) -> None:
    ours = open_bert(folder)
    assert ours is not None
    with torch.no_grad():
        ours.get_input_embeddings().weight[5] += 1.0
    ours.save_pretrained(tmp_path)
    theirs, told = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    weights = theirs.state_dict()
    assert list(weights) == list(ours.state_dict())
    assert all(torch.equal(weight, weights[name]) for name, weight in ours.state_dict().items())
    assert theirs.dtype == torch.float32
