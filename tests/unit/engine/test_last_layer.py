"""The last layer at the tokens that are read: same numbers, same gradients, fewer tokens computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from burnish.engine.dropout import draw_starts, replace_dropout
from burnish.engine.last_layer import narrow_last_layer, only_at
from burnish.engine.layout import LaidOut
from burnish.engine.layout_choice import choose_layout
from burnish.types import Encoded, Reads

Make = Callable[..., Any]
CPU = torch.device("cpu")
TOLERANCE = 2e-5  # float32, products over another number of rows
NARROWED = ["bert", "minilm", "roberta", "modernbert", "llama", "qwen", "mixtral"]
FEED_FORWARD = {
    "bert": "encoder.layer.1.intermediate",
    "modernbert": "layers.1.mlp",
    "llama": "layers.1.mlp",
    "mixtral": "layers.1.mlp",
}


def rows_that_read() -> list[Encoded]:
    """Three rows of 7, 3 and 12 tokens, of which 2, 1 and 4 are read."""
    random = np.random.default_rng(3)
    reads = [[2, 5], [1], [0, 4, 5, 11]]
    return [
        Encoded(random.integers(5, 99, n), (n,), np.zeros(len(at), dtype=np.int64), read_positions=np.array(at))
        for n, at in zip([7, 3, 12], reads, strict=True)
    ]


def laid_out(model: nn.Module, *, draw: bool = False) -> LaidOut:
    rows = rows_that_read()
    offset = 2 if "Roberta" in type(model).__name__ else 0
    starts = draw_starts(range(3), seed=1, step=0) if draw else None
    return LaidOut(rows, range(3), padded=False, device=CPU, position_offset=offset, draw=starts)


@pytest.mark.parametrize("at", ["first", "last", "read"])
@pytest.mark.parametrize("family", NARROWED)
def test_what_is_read_is_what_the_whole_layer_gives(encoder: Make, family: str, at: Reads) -> None:
    model = encoder(family)
    choice = choose_layout(model, rows_that_read(), device=CPU)
    assert choice.reason.endswith("last layer only at the tokens read")
    batch = laid_out(model)
    with torch.no_grad():
        whole, narrowed = batch.hidden(model), batch.hidden(model, at=at)
    assert torch.allclose(narrowed, whole[batch.positions(at)], atol=TOLERANCE)


@pytest.mark.parametrize("family", NARROWED)
def test_gradients_are_those_of_the_whole_layer(encoder: Make, family: str) -> None:
    gradients = []
    for at in ("all", "read"):
        model = encoder(family)
        choose_layout(model, rows_that_read(), device=CPU)
        batch = laid_out(model)
        states = batch.hidden(model, at=at)
        (states if at == "read" else states[batch.positions("read")]).pow(3).sum().backward()
        gradients.append({name: w.grad for name, w in model.named_parameters() if w.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        # float32: sums in another order, relative to the largest entry of each weight
        assert torch.allclose(gradient, gradients[1][name], atol=1e-4 * max(1.0, float(gradient.abs().max()))), name


@pytest.mark.parametrize("family", FEED_FORWARD)
def test_the_feed_forward_layer_sees_only_what_is_read(encoder: Make, family: str) -> None:
    model, seen = encoder(family), []
    choose_layout(model, rows_that_read(), device=CPU)
    part = model.get_submodule(FEED_FORWARD[family])
    part.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[-2]))
    with torch.no_grad():
        laid_out(model).hidden(model)
        laid_out(model).hidden(model, at="read")
        laid_out(model).hidden(model, at="first")
    assert seen == [22, 7, 3]


def test_a_token_is_dropped_out_alike_whether_others_are_computed_or_not(encoder: Make) -> None:
    model = encoder("bert", hidden_dropout_prob=0.5)
    choose_layout(model, rows_that_read(), device=CPU)
    replace_dropout(model, seed=5, probability=None)
    model.train()
    with torch.no_grad():
        batch = laid_out(model, draw=True)
        whole, narrowed = batch.hidden(model), batch.hidden(model, at="read")
    assert torch.allclose(narrowed, whole[batch.positions("read")], atol=TOLERANCE)


@pytest.mark.parametrize("family", ["distilbert", "t5"])
def test_another_shape_is_left_alone(encoder: Make, family: str) -> None:
    assert narrow_last_layer(encoder(family)) is None


def test_a_layer_that_only_looks_like_it_is_put_back(encoder: Make) -> None:
    """Right names, but a third sum: the comparison with the whole layer finds it."""
    model = encoder("llama")
    layer = model.layers[-1]
    plain = layer.forward

    def shifted(hidden_states: Tensor, **named: Any) -> Tensor:
        states: Tensor = plain(hidden_states, **named)
        return states + torch.linspace(0, 1, states.shape[-1])

    layer.forward = shifted
    choice = choose_layout(model, rows_that_read(), device=CPU)
    assert not choice.padded
    assert "last layer" not in choice.reason
    batch = laid_out(model)
    with torch.no_grad():
        assert torch.equal(batch.hidden(model, at="read"), batch.hidden(model)[batch.positions("read")])


def test_outside_of_the_block_the_layer_is_whole(encoder: Make) -> None:
    model = encoder("llama")
    undo = narrow_last_layer(model)
    assert undo is not None
    ids = torch.arange(6)[None]
    with torch.no_grad():
        whole = model(input_ids=ids).last_hidden_state
        with only_at(torch.tensor([1, 4])):
            assert torch.allclose(model(input_ids=ids).last_hidden_state, whole[:, [1, 4]], atol=TOLERANCE)
        assert torch.equal(model(input_ids=ids).last_hidden_state, whole)
        undo()
        with only_at(torch.tensor([1, 4])):
            assert torch.equal(model(input_ids=ids).last_hidden_state, whole)
