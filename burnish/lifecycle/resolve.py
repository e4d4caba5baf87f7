"""What a recipe leaves open is decided here, from the data and the base, with a reason for each decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation.goals import parse_goal
from burnish.evaluation.metrics import default_metric, find_metric
from burnish.method.options import FullOptions, HeadOptions, LoraOptions
from burnish.recipe.schema import Recipe

FEW_ROWS = 1_000  # below: parameter-efficient before full
LARGE_BASE = 400_000_000  # weights; above, full fine-tuning needs more memory than most machines have
REFERENCE_WIDTH = 384  # the width the learning rates below were chosen on


def decide_method(recipe: Recipe, *, train_rows: int, base_parameters: int) -> tuple[Recipe, str | None]:
    """Fills in `method`; gives the recipe and the reason, None when the recipe says it."""
    if recipe.method is not None:
        return recipe, None
    if base_parameters > LARGE_BASE:
        return _with(recipe, method=LoraOptions()), f"method: lora, because the base has {base_parameters:,} weights"
    if train_rows < FEW_ROWS:
        reason = f"method: lora, because {train_rows:,} rows are few for changing every weight"
        return _with(recipe, method=LoraOptions()), reason
    reason = f"method: full, because {train_rows:,} rows suffice for a base of this size"
    return _with(recipe, method=FullOptions()), reason


def decide_training(recipe: Recipe, *, train_rows: int, classes: int, width: int) -> tuple[Recipe, list[str]]:
    """Fills in epochs and learning rate of a method that takes steps."""
    if isinstance(recipe.method, HeadOptions):
        return recipe, []
    filled: dict[str, Any] = {}
    notes: list[str] = []
    if recipe.training.epochs is None:
        filled["epochs"] = default_epochs(train_rows, classes)
        notes.append(f"training.epochs: {filled['epochs']}, for {train_rows:,} rows in {classes} classes")
    if recipe.training.learning_rate is None:
        filled["learning_rate"] = default_learning_rate(lora=isinstance(recipe.method, LoraOptions), width=width)
        notes.append(f"training.learning_rate: {filled['learning_rate']:g}, for a base of width {width}")
    return _with(recipe, training=recipe.training.model_copy(update=filled)), notes


def default_epochs(train_rows: int, classes: int) -> int:
    """More passes for few rows and for many classes; chosen on validation rows of several sets (docs/benchmarks.md)."""
    if train_rows < FEW_ROWS:
        return 10
    return 6 if classes > 20 else 3


def default_learning_rate(*, lora: bool, width: int) -> float:
    """Peak rate by width of the base: 2e-4 at 384 (full), five times that for LoRA; wider bases want smaller steps."""
    full = 2e-4 * min(1.0, (REFERENCE_WIDTH / max(width, 1)) ** 2)
    return float(f"{5 * full if lora else full:.2g}")


def decide_metric(recipe: Recipe, label_counts: Mapping[str, int]) -> tuple[Recipe, str | None]:
    """Accuracy, or macro-F1 when the largest class is over three times the smallest."""
    if recipe.evaluation.metric is not None or not label_counts:
        return recipe, None
    metric = default_metric(label_counts)
    smallest, largest = min(label_counts.values()), max(label_counts.values())
    reason = f"evaluation.metric: {metric}, classes have {smallest:,} to {largest:,} training rows"
    return _with(recipe, evaluation=recipe.evaluation.model_copy(update={"metric": metric})), reason


def check_evaluation(recipe: Recipe, labels: Sequence[str]) -> None:
    """Refuses a metric or a goal that could not be judged, before anything is trained.

    Raises:
        RecipeError: [recipe/unknown-metric], [recipe/bad-goal], [recipe/unknown-goal-label].
    """
    if recipe.evaluation.metric is not None:
        find_metric(recipe.evaluation.metric)
    for goal in recipe.evaluation.goals:
        parse_goal(goal, labels)


def _with(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_copy(update=changes)
