"""A base and a method that have to fit each other: whose adapter it brings, and how much it reads behind a prompt."""

from __future__ import annotations

import dataclasses

from burnish.errors import RecipeError
from burnish.method.options import MethodOptions, PromptTuningOptions
from burnish.model.adapters import UNMERGED, adapter_kind
from burnish.model.load import Base


def fitted_base(base: Base, method: MethodOptions | None) -> Base:
    """The base as a method trains it: a prompt takes its part of the positions.

    Raises:
        RecipeError: [recipe/adapter-on-adapter] where neither the adapter of an earlier run nor the one to come could
            be merged; only training the same one further is possible then.
    """
    name = method.name if method is not None else ""
    below = adapter_kind(base.adapter) if base.adapter is not None else name
    if below != name and (below in UNMERGED or name in UNMERGED):
        raise RecipeError(
            "recipe/adapter-on-adapter",
            f'"{base.name}" was trained with {below}, and what that learned and method: {name} cannot be merged',
            where="method",
            hint=f"write `method: {below}` to train it further, or name the base under it",
        )
    if not isinstance(method, PromptTuningOptions):
        return base
    context = base.context - method.tokens
    return dataclasses.replace(base, context=context, max_length=min(base.max_length, context))
