"""What the methods share: the base inside a model, its linear layers, and which weights learn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import Module

from burnish.errors import RecipeError
from burnish.model.language import has_two_stacks
from burnish.model.libraries import open_peft, with_packed_layers, without_packed_layers
from burnish.model.quantized import is_packed


def learning(model: Module) -> Mapping[str, Tensor]:
    """The weights that get a gradient, by name: what a checkpoint holds."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def core_of(model: Module) -> Any:
    """The base inside a model of burnish, or the model itself where it is a bare one."""
    return getattr(model, "core", model)


def with_core(model: Any, core: Module) -> Module:
    """The model with another base inside, or that base where the model is a bare one."""
    if not hasattr(model, "replace_core"):
        return core
    model.replace_core(core)
    found: Module = model
    return found


def with_peft(model: Module, config: Any) -> Module:
    """The model with the adapter that peft's `config` describes inside its base; the rest of the base is frozen."""
    open_peft()
    from peft import get_peft_model

    packed = any(map(is_packed, core_of(model).parameters()))
    with (
        with_packed_layers() if packed else without_packed_layers(),
        warnings.catch_warnings(),  # peft asks transformers for a property by its old name
    ):
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return with_core(model, get_peft_model(core_of(model), config))


def merged(model: Module) -> Module:
    """The model with the adapter of peft inside its base multiplied in, in the weights' own precision."""
    return with_core(model, core_of(model).merge_and_unload())


def not_mergeable(method: str) -> RecipeError:
    """The error for a method whose weights no plain architecture has a place for."""
    return RecipeError(
        "method/not-mergeable",
        f"what method: {method} learned has no place in the plain architecture",
        where="method",
        hint="take the model as it is saved: the base and a small file beside it; or train with `method: lora`",
    )


def last_layers(encoder: Any, count: int, *, instead: str) -> list[Module]:
    """The last layers of a base, the lowest first.

    Args:
        instead: what lets all of them learn.

    Raises:
        RecipeError: [method/too-many-layers] when it has fewer.
    """
    layers = _layers(encoder)
    if count > len(layers):
        raise RecipeError(
            "method/too-many-layers",
            f"{count} layers are to learn, this base has {len(layers)}",
            where="method.layers",
            hint=f"{instead} to let all of them learn",
        )
    return layers[-count:]


def _layers(encoder: Any) -> list[Module]:
    """The stack of layers, the lowest first; of an encoder with a decoder that of the decoder, which has the end."""
    if has_two_stacks(encoder):
        lists = (part for part in encoder.get_decoder().modules() if isinstance(part, nn.ModuleList))
        return list(next(lists))  # the outermost: T5's layers are lists themselves
    stacks = [part for part in encoder.modules() if isinstance(part, nn.ModuleList)]
    return list(max(stacks, key=len, default=()))


def linear_layers(core: Module) -> list[str]:
    """Names of the linear layers that are read, without the one that turns states into words."""
    output: Any = getattr(core, "get_output_embeddings", None)
    into_words = output() if output else None
    linear = [name for name, part in core.named_modules() if _is_linear(part) and part is not into_words]
    return [name for name in linear if not name.split(".")[0].startswith("pooler")]


def is_transposed(part: Module) -> bool:
    """GPT-2 keeps its matrices transposed, in a class of transformers."""
    return type(part).__name__ == "Conv1D"


def _is_linear(part: Module) -> bool:
    return isinstance(part, nn.Linear) or is_transposed(part)
