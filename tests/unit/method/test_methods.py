"""What holds for every method: only the weights it names move, and merging changes no logit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.layout import LaidOut
from burnish.method.build import METHODS, build_method
from burnish.method.full import Full
from burnish.method.head import Head
from burnish.method.lora import Lora
from burnish.method.options import FullOptions, HeadOptions, LoraOptions
from burnish.types import Method

Make = Callable[..., Any]
CPU = torch.device("cpu")


def batch(make_rows: Make) -> LaidOut:
    return LaidOut(make_rows([5, 3, 7, 5]), range(4), padded=True, device=CPU)


def steps(task: Any, model: nn.Module, method: Method, rows: LaidOut, count: int = 3) -> None:
    optimizer = torch.optim.AdamW(method.trainable(model).values(), lr=1e-2, weight_decay=0.1)
    model.train()
    for _ in range(count):
        optimizer.zero_grad()
        task.loss(model, rows).total.backward()
        optimizer.step()
    model.eval()


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", METHODS)
def test_only_the_named_weights_move(make_classifier: Make, make_rows: Make, name: str) -> None:
    task, model = make_classifier()
    method = METHODS[name]()
    model = method.attach(model)
    names = set(method.trainable(model))
    before = copies(model)
    steps(task, model, method, batch(make_rows))
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == names
    assert any(key.startswith("head.") for key in names)
    assert not any("pooler" in key for key in names)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_trainable_is_what_asks_for_gradients(make_classifier: Make, name: str) -> None:
    _, model = make_classifier()
    method = METHODS[name]()
    model = method.attach(model)
    assert {key: id(weight) for key, weight in method.trainable(model).items()} == {
        key: id(weight) for key, weight in model.named_parameters() if weight.requires_grad
    }


@pytest.mark.parametrize("name", METHODS)
def test_merging_changes_no_logit_and_leaves_the_plain_architecture(
    make_classifier: Make, make_rows: Make, name: str
) -> None:
    task, model = make_classifier()
    plain = set(model.state_dict())
    method = METHODS[name]()
    model = method.attach(model)
    steps(task, model, method, batch(make_rows))
    with torch.no_grad():
        before = model(batch(make_rows))
        merged = method.merge(model).eval()
        after = merged(batch(make_rows))
    assert set(merged.state_dict()) == plain
    # float32: W x + s B(A x) against (W + s B A) x differ by rounding of sums over 16 and 32 numbers, scaled by 20
    assert torch.allclose(before, after, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_its_name(name: str) -> None:
    assert METHODS[name].name == name
    method: Method = METHODS[name]()  # satisfies the contract
    assert method.name == name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (HeadOptions(), Head),
        (FullOptions(), Full),
        (LoraOptions(rank=3, alpha=5.0, target_modules=("query",)), Lora),
    ],
)
def test_a_recipes_options_become_their_method(options: Any, expected: type) -> None:
    method = build_method(options)
    assert type(method) is expected
    if isinstance(method, Lora):
        assert (method.rank, method.alpha, method.target_modules) == (3, 5.0, ("query",))
