"""The recipe of a run with everything filled in that it left open, by the kind of its task."""

from __future__ import annotations

from typing import Any

from burnish.data.prepare import PreparedData
from burnish.errors import RecipeError
from burnish.lifecycle.environment import default_threads
from burnish.lifecycle.resolve import (
    decide_answer_metric,
    decide_embedding_metric,
    decide_embedding_training,
    decide_image_method,
    decide_image_training,
    decide_language_training,
    decide_method,
    decide_metric,
    decide_training,
    with_probes,
)
from burnish.lifecycle.resolve_table import decide_table_metric, decide_table_training
from burnish.model.load import Base
from burnish.recipe.schema import Recipe
from burnish.settings import settings
from burnish.task.build import WRITING
from burnish.task.embedding import Embedding
from burnish.task.image_classification import ImageClassification
from burnish.task.recommendation import Recommendation
from burnish.task.tabular import Tabular
from burnish.types import Progress, Split


def decided(recipe: Recipe, data: PreparedData, base: Base, task: Any, progress: Progress) -> Recipe:
    """The recipe with everything filled in that it left open."""
    rows = len(data.splits[Split.TRAIN])
    counts = data.label_counts[Split.TRAIN]
    why_method: str | None = None
    if task.name == Tabular.name:
        recipe, why_training = decide_table_training(recipe, train_rows=rows)
        recipe, why_metric = decide_table_metric(recipe, counts)
    elif task.name in WRITING:
        recipe, why_method = decide_method(recipe, train_rows=rows, base_parameters=base.parameters)
        recipe, why_training = decide_language_training(recipe, task=task.name, width=base.width)
        recipe, why_metric = decide_answer_metric(recipe, task.name, [e.row for e in data.splits[Split.TRAIN]])
    elif task.name in (Embedding.name, Recommendation.name):
        recipe, why_method = decide_method(recipe, train_rows=rows, base_parameters=base.parameters)
        recipe, why_training = decide_embedding_training(recipe, train_rows=rows, width=base.width)
        recipe, why_metric = decide_embedding_metric(recipe, data.splits[Split.TRAIN][0].row)
    elif task.name == ImageClassification.name:
        recipe, why_method = decide_image_method(recipe)
        recipe, why_training = decide_image_training(recipe, train_rows=rows)
        recipe, why_metric = decide_metric(recipe, task, counts)
    else:
        recipe, why_method = decide_method(recipe, train_rows=rows, base_parameters=base.parameters)
        recipe, why_training = decide_training(recipe, train_rows=rows, classes=len(counts), width=base.width)
        recipe, why_metric = decide_metric(recipe, task, counts)
    _require_offered(recipe, task)
    for reason in (why_method, *why_training, why_metric):
        if reason:
            progress.note(reason)
    columns = recipe.data.model_copy(update={"columns": dict(data.columns)})
    recipe = with_probes(recipe, task.name)
    threads = recipe.training.threads or settings().threads or default_threads()
    training = recipe.training.model_copy(update={"threads": threads})
    return recipe.model_copy(update={"task": task.name, "data": columns, "training": training})


def _require_offered(recipe: Recipe, task: Any) -> None:
    """Raises RecipeError [recipe/method-not-offered] for a method that the task is not trained with."""
    offered = getattr(task, "methods", None)  # a task of another package may say nothing about it
    if recipe.method is None or offered is None or recipe.method.name in offered:
        return
    raise RecipeError(
        "recipe/method-not-offered",
        f"{task.name} is not trained with {recipe.method.name}",
        where="method",
        known=offered,
        hint=f"write `method: {'lora' if 'lora' in offered else offered[0]}`",
    )
