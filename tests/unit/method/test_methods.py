"""A recipe's options become a method. What holds for every method is in tests/conformance."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.method.build import build_method
from burnish.method.full import Full
from burnish.method.head import Head
from burnish.method.lora import Lora
from burnish.method.options import FullOptions, HeadOptions, LoraOptions


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
