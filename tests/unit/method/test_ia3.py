"""IA3: factors that start at one, on keys, values and the inside of the feed-forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from burnish.engine.layout import LaidOut
from burnish.method.ia3 import IA3

Make = Callable[..., Any]
CPU = torch.device("cpu")
FACTORS = {"attention.self.key": 16, "attention.self.value": 16, "output.dense": 32}  # of a BERT 16 wide, 32 inside


def test_the_start_is_the_base_bit_for_bit(make_classifier: Make, make_rows: Make) -> None:
    _, plain = make_classifier()
    _, model = make_classifier()
    model = IA3().attach(model).eval()
    rows = LaidOut(make_rows([5, 3, 7]), range(3), padded=True, device=CPU)
    with torch.no_grad():
        assert torch.equal(plain(rows), model(rows))


def test_a_factor_for_each_key_value_and_inner_activation(make_classifier: Make) -> None:
    _, model = make_classifier()
    method = IA3()
    learned = {name: weight for name, weight in method.trainable(method.attach(model)).items() if "head" not in name}
    found = {name.split("layer.")[1].split(".ia3")[0]: weight.numel() for name, weight in learned.items()}
    assert found == {f"{layer}.{name}": count for layer in (0, 1) for name, count in FACTORS.items()}
    assert all(bool((weight == 1).all()) for weight in learned.values())


class Plain(nn.Module):
    """One key and one feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.fc2 = nn.Linear(3, 2), nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.key(x)))


def test_what_the_factors_multiply_by_hand() -> None:
    """A key's output with its bias, a feed-forward layer's input; merged, the weights' rows and columns."""
    torch.manual_seed(0)
    model, x = Plain(), torch.randn(4, 3)
    key, fc2 = ({name: w.detach().clone() for name, w in part.named_parameters()} for part in model.children())
    method = IA3()
    adapted: Any = method.attach(model)
    weights = method.trainable(adapted)
    of_key = next(weight for name, weight in weights.items() if "key" in name)
    of_fc2 = next(weight for name, weight in weights.items() if "fc2" in name)
    with torch.no_grad():
        of_key.copy_(torch.tensor([[2.0], [3.0]]))
        of_fc2.copy_(torch.tensor([[0.5, -1.0]]))
        keys = (x @ key["weight"].T + key["bias"]) * torch.tensor([2.0, 3.0])
        expected = (torch.relu(keys) * torch.tensor([0.5, -1.0])) @ fc2["weight"].T + fc2["bias"]
        assert torch.allclose(adapted(x), expected, atol=1e-6)
        merged: Any = method.merge(adapted)
        assert torch.allclose(merged(x), expected, atol=1e-6)
    assert merged.state_dict().keys() == Plain().state_dict().keys()
