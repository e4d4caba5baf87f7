"""From the name in a recipe to the method itself; `METHODS` is the registration."""

from __future__ import annotations

from burnish.method.full import Full
from burnish.method.head import Head
from burnish.method.lora import Lora
from burnish.method.options import HeadOptions, LoraOptions, MethodOptions

METHODS = {"head": Head, "lora": Lora, "full": Full}


def build_method(options: MethodOptions) -> Full | Head | Lora:
    """The method a recipe names."""
    if isinstance(options, LoraOptions):
        return Lora(rank=options.rank, alpha=options.alpha, target_modules=options.target_modules)
    if isinstance(options, HeadOptions):
        return Head()
    return Full()
