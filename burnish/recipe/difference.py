"""What two recipes say differently, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from burnish.recipe.schema import Recipe


def recipe_differences(before: Recipe, after: Recipe) -> list[dict[str, Any]]:
    """{"what": "training.seed", "before", "now"} for each field that two recipes give another value.

    A method with other fields is compared by all fields of both; what one does not have is None.
    """
    first, second = recipe_fields(before), recipe_fields(after)
    return [
        {"what": name, "before": first.get(name), "now": second.get(name)}
        for name in {**first, **second}
        if first.get(name) != second.get(name)
    ]


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """Every field of a recipe by its place: "training.seed" -> 13."""
    return dict(_fields(recipe.model_dump(mode="json")))


def _fields(tree: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _fields(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value
