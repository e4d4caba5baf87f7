"""The recipe that a file of rows, a recipe file or a Recipe stands for, with paths that hold from anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.data.files import find_files
from burnish.data.options import DataOptions
from burnish.data.remote import is_remote
from burnish.errors import DataReadError
from burnish.evaluation.probes import NO_PROBES, SHIPPED
from burnish.model.catalogue import CATALOGUE
from burnish.recipe.read import build_recipe, read_recipe
from burnish.recipe.schema import Recipe
from burnish.registry.runs import version_folder
from burnish.settings import expanded, settings

if TYPE_CHECKING:
    pass

from burnish.model.catalogue import RANDOM_ROWS

RECIPE_SUFFIXES = (".yaml", ".yml")


def recipe_of(
    source: str | Path | Recipe, *, test: str | Path | None, overrides: Sequence[str], seed: int | None
) -> tuple[Recipe, Path]:
    """The recipe a source stands for, and the folder its paths are relative to."""
    extra = list(overrides)
    if test is not None:
        place = str(test)
        if not is_remote(place):
            place = os.path.abspath(place)  # noqa: PTH100  # keeps links as the user wrote them
        extra.append(f"data.test={json.dumps(place)}")
    if seed is not None:
        extra.append(f"training.seed={seed}")
    if isinstance(source, Recipe):
        said = source.model_dump(mode="json", exclude_unset=True)  # a default is not something that somebody said
        if source.method is not None:
            said["method"] = {"name": source.method.name, **said.get("method", {})}
        return build_recipe(said, extra, source="recipe"), Path.cwd()
    if not str(source):
        raise DataReadError(
            "data/not-a-file", "is no name", where='""', hint="name a file of rows, a folder of images or a recipe"
        )
    path = Path(source)
    if path.suffix.lower() in RECIPE_SUFFIXES:
        return read_recipe(path, extra), path.parent.resolve()
    name = str(source) if is_remote(str(source)) else str(path)
    return build_recipe({"data": {"train": name}}, extra, source=name), Path.cwd()


def with_absolute_paths(recipe: Recipe, folder: Path) -> Recipe:
    """The same recipe with paths of data and base that hold from anywhere; patterns become the files they match."""

    def absolute(names: tuple[str, ...]) -> str | tuple[str, ...] | None:
        places = (name if is_remote(name) else str(expanded(name)) for name in names)
        files = tuple(
            file.name if is_remote(file.name) else str(folder / file.path) for file in find_files(places, folder)
        )
        return files[0] if len(files) == 1 else files or None

    relabel = recipe.data.clean.relabel
    changes: dict[str, Any] = {
        "train": absolute(recipe.data.train_files),
        "validation": absolute(recipe.data.validation_files),
        "test": absolute(recipe.data.test_files),
        "clean": recipe.data.clean.model_copy(update={"relabel": relabel and str(folder / expanded(relabel))}),
    }
    data: DataOptions = recipe.data.model_copy(update=changes)
    canaries = recipe.evaluation.canaries
    evaluation = recipe.evaluation.model_copy(update={"canaries": canaries and str(folder / expanded(canaries))})
    recipe = _with_absolute_probes(recipe.model_copy(update={"evaluation": evaluation}), folder)
    base = recipe.model.base
    places = (folder / expanded(base), settings().runs.absolute() / base)
    local = next((place for place in places if place.is_dir()), None) if base not in CATALOGUE else None
    if local is None and base not in (*CATALOGUE, RANDOM_ROWS) and "/" not in base:
        local = version_folder(base)
    model = recipe.model.model_copy(update={"base": str(local)}) if local else recipe.model
    events = recipe.tracking.tensorboard
    tracking = recipe.tracking.model_copy(
        update={"tensorboard": str(folder / expanded(events)) if isinstance(events, str) else events}
    )
    return recipe.model_copy(update={"data": data, "model": model, "tracking": tracking})


def _with_absolute_probes(recipe: Recipe, folder: Path) -> Recipe:
    """The same for the files of what must not be forgotten."""
    forgetting, keep = recipe.evaluation.forgetting, recipe.training.keep_ability
    probes = tuple(name if name in (SHIPPED, NO_PROBES) else str(folder / expanded(name)) for name in forgetting.places)
    rows = keep.rows and str(folder / expanded(keep.rows))
    forgetting = forgetting.model_copy(update={"probes": probes[0] if len(probes) == 1 else probes or None})
    return recipe.model_copy(
        update={
            "evaluation": recipe.evaluation.model_copy(update={"forgetting": forgetting}),
            "training": recipe.training.model_copy(update={"keep_ability": keep.model_copy(update={"rows": rows})}),
        }
    )
