"""The precision a recipe asks for, and what `auto` makes of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from burnish.engine import precision
from burnish.engine.precision import Precision, choose_device, choose_precision
from burnish.settings import settings

CPU = torch.device("cpu")


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_the_recipe_decides(wanted: str) -> None:
    assert choose_precision(wanted, CPU) == Precision(wanted, "asked for by the recipe")


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets BURNISH_PRECISION."""

    def to(wanted: str) -> None:
        monkeypatch.setenv("BURNISH_PRECISION", wanted)
        settings.cache_clear()

    yield to
    settings.cache_clear()


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_the_setting_decides_where_the_recipe_does_not(setting: Callable[[str], None], wanted: str) -> None:
    setting(wanted)
    assert choose_precision("auto", CPU) == Precision(wanted, "asked for by BURNISH_PRECISION")
    assert choose_precision("fp32", CPU) == Precision("fp32", "asked for by the recipe")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"bf16": True}, "bf16"),
        ({"avx512_bf16": False, "avx2": True}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_auto_looks_at_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
    setting: Callable[[str], None],
    capabilities: dict[str, Any],
    expected: str,
) -> None:
    setting("auto")
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    chosen = choose_precision("auto", CPU)
    assert chosen.name == expected
    assert "cpu" in chosen.reason


def test_the_device_is_the_accelerator_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device() == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == CPU


def test_products_run_in_bf16_over_float32_weights() -> None:
    layer = torch.nn.Linear(4, 4)
    for name, expected in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        chosen = Precision(name, "")
        with chosen.compute(CPU):
            output = layer(torch.ones(1, 4))
        assert output.dtype == expected
        output.float().sum().backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.dtype == torch.float32
