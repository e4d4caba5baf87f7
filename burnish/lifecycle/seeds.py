"""How much of a result is the luck of the seed: runs that differ in nothing else."""

from __future__ import annotations

import statistics
from typing import Any

from burnish.errors import BurnishError
from burnish.recipe.read import read_recipe
from burnish.recipe.schema import Recipe
from burnish.registry.runs import list_runs
from burnish.storage.run_folder import RunFolder


def seed_spread(folder: RunFolder) -> dict[str, Any] | None:
    """The metric of this run and of those beside it whose recipe is the same but for the seed.

    Returns:
        {"metric", "runs", "seeds": how many different ones, "mean", "deviation" of the sample, "gain": mean gain
        over each run's strongest arm, and "gain_deviation", "same_rows": whether all were judged on the same test rows,
        which a recipe without a test file draws by the seed}, in the metric's unit; None where no run of another seed
        is judged.
    """
    own = _judged(folder)
    recipe = _recipe(folder)
    if own is None or recipe is None:
        return None
    beside = [RunFolder(summary.folder) for summary in list_runs(folder.path.resolve().parent)]
    alike = [other for other in beside if _recipe(other) == recipe]
    found = {other.id: judged for other in alike if (judged := _judged(other)) is not None}
    seeds = {read_recipe(other.recipe).training.seed for other in alike if other.id in found}
    if len(seeds) < 2:
        return None
    metric = str(own["metric"])
    values = [judged["models"]["tuned"][metric]["value"] for judged in found.values()]
    gains = [judged["verdict"]["difference"] for judged in found.values()]
    sealed = {other.manifest().get("sealed", {}).get("sha256") for other in alike if other.id in found}
    return {
        "metric": metric,
        "runs": sorted(found),
        "seeds": len(seeds),
        "mean": statistics.mean(values),
        "deviation": statistics.stdev(values),
        "gain": statistics.mean(gains),
        "gain_deviation": statistics.stdev(gains),
        "same_rows": len(sealed) == 1,
    }


def _recipe(folder: RunFolder) -> Recipe | None:
    """The recipe without its seed; None where there is none that this version reads."""
    try:
        recipe = read_recipe(folder.recipe)
    except BurnishError:
        return None
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 0})})


def _judged(folder: RunFolder) -> dict[str, Any] | None:
    return folder.content(folder.evaluation) if folder.evaluation.is_file() else None
