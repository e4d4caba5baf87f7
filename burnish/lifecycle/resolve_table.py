"""What a recipe for a table leaves open: its metric, its training, and which of two classes is looked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from burnish.errors import DataProblemError, RecipeError, excerpt, nearest
from burnish.evaluation.metrics import METRICS
from burnish.evaluation.metrics.classification import Accuracy, MacroF1
from burnish.evaluation.metrics.probabilities import PROBABILITY_METRICS, RANKING, RARE, PrAuc, RocAuc
from burnish.evaluation.metrics.regression import NUMBER_METRICS, RSquared
from burnish.method.options import FullOptions
from burnish.recipe.schema import Recipe

STEPS = 1_500  # about so many are worth taking at most; a table of many rows needs fewer passes
BATCH = {0: 32, 1_000: 64, 4_000: 128, 20_000: 256}  # rows per step, from so many training rows on
LEARNING_RATE = 1e-3
MOST_EPOCHS = 100
EVALUATE_EVERY = 20  # steps at least: a small table has few in an epoch
PATIENCE = 5
CPU_TOKENS = 8_192  # computed at once: the layers are narrow, so more rows fit than of a language model


def decide_table_metric(recipe: Recipe, label_counts: Mapping[str, int]) -> tuple[Recipe, str | None]:
    """R² for numbers; PR-AUC of two classes of which one is rare, else ROC-AUC; macro-F1 for more.

    Args:
        label_counts: training rows of each class; empty where a number is predicted.

    Raises:
        DataProblemError: [data/one-class].
        RecipeError: [recipe/invalid] for a metric or a positive class that says nothing about this target.
    """
    if len(label_counts) == 1:
        raise DataProblemError(
            "data/one-class",
            f'every training row has the same target, "{excerpt(next(iter(label_counts)))}"',
            hint="add rows of the other classes, or name another target: `data: {columns: {target: COLUMN}}`",
        )
    fitting = metrics_for(label_counts)
    named = recipe.evaluation.metric
    if named is not None and named not in fitting and named in METRICS:
        raise _invalid(f"{named} says nothing about this target", "evaluation.metric", f"one of {', '.join(fitting)}")
    changes: dict[str, Any] = {}
    reason = None
    if len(label_counts) == 2:
        positive = recipe.table.positive or min(sorted(label_counts), key=label_counts.__getitem__)
        if positive not in label_counts:
            close = nearest(positive, label_counts) or next(iter(label_counts))
            raise _invalid(
                f'"{positive}" is no class of the target', "table.positive", f"`table: {{positive: {close}}}`"
            )
        changes["table"] = recipe.table.model_copy(update={"positive": positive})
        share = label_counts[positive] / sum(label_counts.values())
        metric = PrAuc.name if share < RARE else RocAuc.name
        reason = f'evaluation.metric: {metric}, "{positive}" is {share:.1%} of the training rows'
    elif recipe.table.positive is not None:
        raise _invalid(f"there are {len(label_counts)} classes, not two", "table.positive", "leave it out")
    elif label_counts:
        metric = MacroF1.name
        reason = f"evaluation.metric: {metric}, for {len(label_counts)} classes"
    else:
        metric = RSquared.name
        reason = f"evaluation.metric: {metric}, the target is a number"
    changes["evaluation"] = recipe.evaluation.model_copy(update={"metric": named or metric})
    return recipe.model_copy(update=changes), None if named else reason


def metrics_for(label_counts: Mapping[str, int]) -> list[str]:
    """Names of the metrics that say something about a target of these classes, or of numbers."""
    if not label_counts:
        return [metric.name for metric in NUMBER_METRICS]
    ranking = RANKING if len(label_counts) == 2 else ()
    others = [metric for metric in PROBABILITY_METRICS if metric not in RANKING]
    return [metric.name for metric in (*ranking, *others, Accuracy, MacroF1)]


def decide_table_training(recipe: Recipe, *, train_rows: int) -> tuple[Recipe, list[str]]:
    """Method, epochs, learning rate and batch for a transformer that starts from random weights; and the reasons."""
    said, training = recipe.training.model_fields_set, recipe.training
    batch = training.global_batch_size
    if "global_batch_size" not in said:
        batch = BATCH[max(rows for rows in BATCH if rows <= train_rows)]
    steps_per_epoch = math.ceil(train_rows / batch)
    rate = LEARNING_RATE if training.learning_rate is None else training.learning_rate
    filled: dict[str, Any] = {
        "global_batch_size": batch,
        "epochs": training.epochs or max(1, min(MOST_EPOCHS, STEPS // steps_per_epoch)),
        "learning_rate": rate,
    }
    defaults = {
        "layer_decay": 1.0,
        "label_smoothing": 0.0,
        "patience": PATIENCE,
        "micro_batch_tokens": CPU_TOKENS,
        "evaluate_every_steps": max(steps_per_epoch, EVALUATE_EVERY),
    }
    filled |= {name: value for name, value in defaults.items() if name not in said}
    reasons = [
        f"training: {filled['epochs']} epochs in batches of {batch} at {rate:g}, for {train_rows:,} rows from random "
        "weights"
    ]
    method = recipe.method or FullOptions()
    return recipe.model_copy(update={"method": method, "training": training.model_copy(update=filled)}), reasons


def _invalid(message: str, where: str, instead: str) -> RecipeError:
    return RecipeError("recipe/invalid", message, where=where, hint=f"write {instead}" if "`" in instead else instead)
