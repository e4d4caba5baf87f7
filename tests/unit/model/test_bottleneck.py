"""A bottleneck computes what its paper says, leaves the names of its base alone, and comes back from its tensors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.model.bottleneck import bottleneck_tensors, bottlenecks_of, insert_bottleneck, put_bottlenecks


def base() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))


def test_by_hand() -> None:
    """h + W_up gelu(W_down h + b_down) + b_up, gelu(x) = x * Phi(x)."""
    model = base()
    bottleneck = insert_bottleneck(model[0], 1)
    with torch.no_grad():
        bottleneck.down.weight.copy_(torch.tensor([[1.0, -1.0, 2.0]]))
        bottleneck.down.bias.fill_(0.5)
        bottleneck.up.weight.copy_(torch.tensor([[1.0], [0.0], [-2.0]]))
        bottleneck.up.bias.copy_(torch.tensor([0.0, 0.25, 0.0]))
        x = torch.tensor([[0.3, -0.7]])
        h = (x @ model[0].weight.T + model[0].bias)[0].tolist()
        narrow = h[0] - h[1] + 2 * h[2] + 0.5
        gelu = narrow * 0.5 * (1 + math.erf(narrow / math.sqrt(2)))
        assert model[0](x)[0].tolist() == pytest.approx([h[0] + gelu, h[1] + 0.25, h[2] - 2 * gelu], abs=1e-6)


def test_the_bases_own_names_stay() -> None:
    model = base()
    before = list(model.state_dict())
    insert_bottleneck(model[1], 4)
    assert [name for name in model.state_dict() if "bottleneck" not in name] == before
    assert set(bottlenecks_of(model)) == {"1.bottleneck"}


def test_it_comes_back_from_its_tensors() -> None:
    model, x = base(), torch.randn(5, 2)
    for layer in model:
        insert_bottleneck(layer, 4)
    for weight in bottleneck_tensors(model).values():
        nn.init.normal_(weight)
    tensors: dict[str, Tensor] = {name: value.clone() for name, value in bottleneck_tensors(model).items()}
    assert set(tensors) == {
        f"{layer}.bottleneck.{part}.{kind}" for layer in "01" for part in ("down", "up") for kind in ("weight", "bias")
    }
    again = base()
    put_bottlenecks(again, tensors)
    assert torch.equal(again(x), model(x))
    assert not torch.allclose(base()(x), model(x), atol=0.1)


def test_a_base_without_the_layer() -> None:
    with pytest.raises(ModelError) as caught:
        put_bottlenecks(base(), {"7.bottleneck.down.bias": torch.zeros(1)})
    assert (caught.value.code, caught.value.where) == ("model/other-base", "model.base")
    assert "the layer 7, which Sequential does not have" in caught.value.message
    assert "task it was trained for" in str(caught.value.hint)
