"""Bottleneck adapters: behind attention and feed-forward, of the size the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from burnish.engine.layout import LaidOut
from burnish.errors import RecipeError
from burnish.method.adapter import Adapter

Make = Callable[..., Any]
CPU = torch.device("cpu")


def test_the_start_is_the_base_bit_for_bit(make_classifier: Make, make_rows: Make) -> None:
    _, plain = make_classifier()
    _, model = make_classifier()
    model = Adapter(size=4).attach(model).eval()
    rows = LaidOut(make_rows([5, 3, 7]), range(3), padded=True, device=CPU)
    with torch.no_grad():
        assert torch.equal(plain(rows), model(rows))


def test_the_number_of_weights_that_learn(make_classifier: Make) -> None:
    """2 * size * width + size + width behind attention and feed-forward of each layer, and the whole head."""
    _, model = make_classifier()
    method = Adapter(size=4)
    learned = method.trainable(method.attach(model))
    assert sum(weight.numel() for weight in learned.values()) == 2 * 2 * (2 * 4 * 16 + 4 + 16) + (16 * 2 + 2)
    places = {name.split("layer.")[1].split(".bottleneck")[0] for name in learned if "bottleneck" in name}
    assert places == {f"{layer}.{name}" for layer in (0, 1) for name in ("attention.output.dense", "output.dense")}


def test_bottlenecks_that_are_there_are_trained_further(make_classifier: Make) -> None:
    _, model = make_classifier()
    Adapter(size=4).attach(model)
    before = dict(model.named_parameters())
    model.requires_grad_(True)
    learned = Adapter(size=4).trainable(Adapter(size=4).attach(model))
    assert before.keys() == dict(model.named_parameters()).keys()
    assert all("bottleneck" in name or "head" in name for name in learned)
    with pytest.raises(RecipeError) as caught:
        Adapter(size=8).attach(model)
    assert (caught.value.code, caught.value.where) == ("method/other-size", "method.size")
    assert "have 4 numbers, not 8" in caught.value.message
    assert "`size: 4`" in str(caught.value.hint)


def test_it_is_not_merged(make_classifier: Make) -> None:
    _, model = make_classifier()
    method = Adapter()
    method.attach(model)
    with pytest.raises(RecipeError) as caught:
        method.merge(model)
    assert (caught.value.code, caught.value.where) == ("method/not-mergeable", "method")
    assert "method: adapter" in caught.value.message
    assert "method: lora" in str(caught.value.hint)
