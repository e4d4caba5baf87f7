"""What "auto" becomes in a job: numbers that its rows and its base decide, and a rate for a multiplier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.lifecycle.decided import decided
from burnish.lifecycle.job_recipe import AUTO, JobRequest, recipe_with_files
from burnish.lifecycle.own import Own
from burnish.lifecycle.train import permitted_base, read_rows
from burnish.method.options import HeadOptions
from burnish.recipe.read import build_recipe
from burnish.settings import settings
from burnish.types import Silent


def settle(tree: dict[str, Any], asked: JobRequest, base: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The numbers a job is trained with; a learning rate multiplier becomes a rate in the tree.

    Args:
        tree: recipe of the job, see `recipe_tree`.
        base: as the recipe names it.
        files: param -> path.

    Raises:
        BurnishError: whatever the rows or the base do not allow.
    """
    plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in tree.items()}
    recipe, task, data = read_rows(build_recipe(recipe_with_files(plain, base, files), source="job"), Own())
    recipe = decided(recipe, data, permitted_base(recipe, settings().runs), task, Silent())
    multiplier = asked.hyperparameters.get("learning_rate_multiplier", AUTO)
    rate = recipe.training.learning_rate
    if multiplier != AUTO and rate is not None and not isinstance(recipe.method, HeadOptions | None):
        rate = tree["training"]["learning_rate"] = min(1.0, float(f"{rate * multiplier:.6g}"))
    return {
        "n_epochs": recipe.training.epochs,
        "batch_size": recipe.training.global_batch_size,
        "learning_rate_multiplier": 1.0 if multiplier == AUTO else multiplier,
        "learning_rate": rate,
        **({"beta": recipe.preference.scale} if task.name == "preference" else {}),
        "method": recipe.method.name if recipe.method else None,
    }
