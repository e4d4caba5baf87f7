"""The files a run reads beside its rows: corrections, probes, canaries, rows of what must not be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from burnish.evaluation.probes import NO_PROBES, SHIPPED
from burnish.recipe.schema import Recipe
from burnish.storage.fingerprint import file_sha256


def inputs_of(recipe: Recipe) -> dict[str, str | None]:
    """Path -> sha256 of each such file that a recipe with absolute paths names; None where it is not there."""
    return {str(path): file_sha256(path) if path.is_file() else None for path in _named(recipe)}


def _named(recipe: Recipe) -> Iterator[Path]:
    evaluation = recipe.evaluation
    probes = [name for name in evaluation.forgetting.places if name not in (SHIPPED, NO_PROBES)]
    for name in (recipe.data.clean.relabel, evaluation.canaries, recipe.training.keep_ability.rows, *probes):
        if name is not None:
            yield Path(name)
