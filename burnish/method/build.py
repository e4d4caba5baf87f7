"""From the name in a recipe to the method itself; `METHODS` is the registration."""

from __future__ import annotations

from burnish.method.adapter import Adapter
from burnish.method.freeze import Freeze
from burnish.method.full import Full
from burnish.method.head import Head
from burnish.method.ia3 import IA3
from burnish.method.lora import Lora, QLora
from burnish.method.options import (
    AdapterOptions,
    FreezeOptions,
    HeadOptions,
    IA3Options,
    LoraOptions,
    MethodOptions,
    PromptTuningOptions,
    QLoraOptions,
)
from burnish.method.prompt_tuning import PromptTuning
from burnish.types import Method

METHODS: dict[str, type[Method]] = {
    "head": Head,
    "prompt-tuning": PromptTuning,
    "ia3": IA3,
    "adapter": Adapter,
    "lora": Lora,
    "qlora": QLora,
    "freeze": Freeze,
    "full": Full,
}


def build_method(options: MethodOptions) -> Method:
    """The method a recipe names."""
    if isinstance(options, LoraOptions):
        return (QLora if isinstance(options, QLoraOptions) else Lora)(
            rank=options.rank,
            alpha=options.alpha,
            target_modules=options.target_modules,
            rank_stabilized=options.rank_stabilized,
            decomposed=options.decomposed,
            layers=options.layers,
        )
    if isinstance(options, PromptTuningOptions):
        return PromptTuning(tokens=options.tokens)
    if isinstance(options, IA3Options):
        return IA3()
    if isinstance(options, AdapterOptions):
        return Adapter(size=options.size)
    if isinstance(options, FreezeOptions):
        return Freeze(layers=options.layers)
    if isinstance(options, HeadOptions):
        return Head()
    return Full()
