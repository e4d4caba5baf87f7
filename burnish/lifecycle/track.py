"""A run shown in the programs that its recipe names, from its first step to its verdict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from burnish.recipe.difference import recipe_fields
from burnish.recipe.read import read_recipe
from burnish.recipe.schema import Recipe
from burnish.registry.tracking import Tracker, named, open_sinks
from burnish.registry.version import Version
from burnish.storage.run_folder import RunFolder
from burnish.types import Progress


@contextlib.contextmanager
def tracked(folder: RunFolder, recipe: Recipe, progress: Progress) -> Iterator[Progress]:
    """A Progress that hands on what the run writes down; the one that was given where no program is named."""
    if not named(recipe.tracking):
        yield progress
        return
    tracker = Tracker(folder, open_sinks(recipe.tracking, folder), progress)
    tracker.begin(recipe_fields(recipe))
    try:
        yield tracker
    finally:
        tracker.end()


def mirrored(version: Version, folder: RunFolder, alias: str) -> dict[str, str]:
    """{"mlflow": "models:/NAME@ALIAS"} once MLflow knows what an alias means, where the run was tracked there.

    Whatever goes wrong there is said in its place: burnish's own alias has moved already.
    """
    address = read_recipe(folder.recipe).tracking.mlflow if folder.recipe.is_file() else None
    if address is None:
        return {}
    from burnish.registry.sink_mlflow import mirror_alias

    try:
        place = mirror_alias(
            address, run=folder.id, name=version.name, alias=alias, version=version.id, source=folder.final
        )
    except Exception as error:  # whatever another program raises
        return {"mlflow": f"not told: {type(error).__name__}: {error}"}
    return {"mlflow": place}
