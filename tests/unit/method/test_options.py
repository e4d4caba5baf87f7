"""A method is named in one word or described in full."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from burnish.method.options import FullOptions, HeadOptions, LoraOptions, MethodOptions

read = TypeAdapter(MethodOptions).validate_python


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("head", HeadOptions()),
        ("lora", LoraOptions()),
        ("full", FullOptions()),
        ({"name": "lora", "rank": 4}, LoraOptions(rank=4)),
        ({"name": "lora", "target_modules": ["query"]}, LoraOptions(target_modules=("query",))),
    ],
)
def test_a_word_or_a_description(value: Any, expected: Any) -> None:
    assert read(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "lorra",
        {"rank": 4},
        {"name": "full", "rank": 4},
        {"name": "lora", "rank": 0},
        {"name": "lora", "rank": 2000},
        {"name": "lora", "alpha": 0},
        3,
    ],
)
def test_everything_else_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        read(value)
