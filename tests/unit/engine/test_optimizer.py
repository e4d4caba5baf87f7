"""Learning rates, decay and the running average, by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from burnish.engine.optimizer import AdamW, WeightAverage, build_optimizer, learning_rate_factor
from burnish.engine.options import TrainingOptions
from burnish.method.full import Full
from burnish.method.lora import Lora

Make = Callable[..., Any]


def settings_of(model: nn.Module, method: Any, options: TrainingOptions) -> dict[str, tuple[float, float]]:
    """(peak learning rate, weight decay) of every weight, by name."""
    trainable = dict(method.trainable(model))
    optimizer = build_optimizer(model, trainable, options)
    found = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    assert all(group["lr"] == group["peak"] for group in optimizer.param_groups)
    assert len(found) == len(trainable)
    return {name: found[id(weight)] for name, weight in trainable.items()}


OPTIONS = TrainingOptions(learning_rate=1.0, layer_decay=0.5, weight_decay=0.1)
LAYER = "base.encoder.encoder.layer"
BY_HAND = {
    "head.linear.weight": (1.0, 0.1),
    "head.linear.bias": (1.0, 0.0),  # vectors do not decay
    f"{LAYER}.1.output.dense.weight": (0.5, 0.1),
    f"{LAYER}.1.output.dense.bias": (0.5, 0.0),
    f"{LAYER}.1.output.LayerNorm.weight": (0.5, 0.0),
    f"{LAYER}.0.attention.self.query.weight": (0.25, 0.1),
    f"{LAYER}.0.attention.output.LayerNorm.bias": (0.25, 0.0),
    "base.encoder.embeddings.word_embeddings.weight": (0.125, 0.0),  # neither do embeddings
    "base.encoder.embeddings.position_embeddings.weight": (0.125, 0.0),
    "base.encoder.embeddings.LayerNorm.weight": (0.125, 0.0),
}


def test_rates_and_decay_of_a_base_of_two_layers(make_classifier: Make) -> None:
    """The head learns at the full rate, each layer below at half of the one above, embeddings at the bottom."""
    _, model = make_classifier()
    found = settings_of(model, Full(), OPTIONS)
    assert {name: found[name] for name in BY_HAND} == BY_HAND


def test_every_weight_gets_the_rate_of_its_depth(make_classifier: Make) -> None:
    _, model = make_classifier()
    for name, (rate, decay) in settings_of(model, Full(), OPTIONS).items():
        expected = 1.0 if "head" in name else 0.5 if "layer.1" in name else 0.25 if "layer.0" in name else 0.125
        assert rate == expected, name
        assert decay == (0.1 if name.endswith("weight") and "Norm" not in name and "embed" not in name else 0.0), name


def test_an_adapter_learns_at_the_rate_of_its_layer(make_classifier: Make) -> None:
    _, model = make_classifier()
    method = Lora(rank=2)
    found = settings_of(method.attach(model), method, OPTIONS)
    rates = {name: rate for name, (rate, _) in found.items()}
    assert {rate for name, rate in rates.items() if "layer.1." in name} == {0.5}
    assert {rate for name, rate in rates.items() if "layer.0." in name} == {0.25}
    assert rates["head.linear.weight"] == 1.0


def test_a_model_without_layers_learns_at_one_rate() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    found = settings_of(model, Full(), OPTIONS)
    assert {rate for rate, _ in found.values()} == {1.0}


def test_one_step_of_adamw_by_hand() -> None:
    """The first step moves every entry by the rate, against the sign of its gradient, after decaying the matrix."""
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0]]))
        model.bias.zero_()
    options = TrainingOptions(learning_rate=0.1, layer_decay=1.0, weight_decay=0.5)
    optimizer = build_optimizer(model, dict(model.named_parameters()), options)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0, -0.1]]), torch.tensor([2.0])
    optimizer.step()
    decay = 1 - 0.1 * 0.5
    assert model.weight.tolist()[0] == pytest.approx([1.0 * decay - 0.1, -2.0 * decay + 0.1], abs=1e-6)
    assert model.bias.tolist() == pytest.approx([-0.1], abs=1e-6)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [  # 10 steps, of which 2 warm up
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("cosine", [1 / 3, 2 / 3, *(0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8))]),
    ],
)
def test_the_schedules(schedule: Any, factors: list[float]) -> None:
    options = TrainingOptions(schedule=schedule, warmup_ratio=0.2)
    found = [learning_rate_factor(step, total_steps=10, options=options) for step in range(10)]
    assert found == pytest.approx(factors)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.06, 0.99])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_every_step_learns_something(schedule: Any, warmup: float, total: int) -> None:
    options = TrainingOptions(schedule=schedule, warmup_ratio=warmup)
    factors = [learning_rate_factor(step, total_steps=total, options=options) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)


def test_the_running_average_by_hand() -> None:
    """Its decay is (1 + step) / (10 + step) at first: 2/11, then 3/12, and never above the recipe's."""
    weight = torch.tensor([0.0])
    average = WeightAverage({"w": weight}, 0.24)
    weight.fill_(11.0)
    average.update({"w": weight}, 1)
    assert average.weights["w"].item() == pytest.approx(11 * 9 / 11)
    weight.fill_(1.0)
    average.update({"w": weight}, 2)  # 3/12 is above 0.24
    assert average.weights["w"].item() == pytest.approx(0.24 * 9 + 0.76 * 1)


def test_the_average_is_not_the_weight_itself() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    average = WeightAverage({"w": weight}, 0.9)
    with torch.no_grad():
        weight.fill_(5.0)
    assert average.weights["w"].item() == 1.0
    assert not average.weights["w"].requires_grad


def test_the_mean_gradient_is_measured_by_hand() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(3)]  # the last one got none
    weights[0].grad, weights[1].grad = torch.tensor([30.0]), torch.tensor([40.0])
    rule = AdamW([{"params": weights, "lr": 0.1, "weight_decay": 0.0}])
    assert rule.mean_norm(100.0) == pytest.approx(0.5)
    weights[0].grad = torch.tensor([math.inf])
    assert math.isinf(rule.mean_norm(2.0))


def test_adamw_is_that_of_torch_to_the_bit() -> None:
    """Ten steps with a rate that changes; one weight has a gradient in some of them only."""
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    theirs = copy.deepcopy(ours)
    options = TrainingOptions(learning_rate=3e-3, layer_decay=1.0, weight_decay=0.1)
    own = build_optimizer(ours, dict(ours.named_parameters()), options)
    matrices = [w for w in theirs.parameters() if w.ndim == 2]
    vectors = [w for w in theirs.parameters() if w.ndim == 1]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=3e-3, fused=True
    )
    for step in range(10):
        inputs = torch.randn(6, 5)
        for model, optimizer in ((ours, own), (theirs, reference)):
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 / (step + 1)
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            if step % 3:
                model[1].bias.grad = None
            optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
        moments = reference.state[other]
        assert all(torch.equal(value, moments[name]) for name, value in own.state[one].items())
