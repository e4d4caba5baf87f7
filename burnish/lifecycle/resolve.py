"""What a recipe leaves open is decided here, from the data and the base, with a reason for each decision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.data.tags import is_scheme, kind_of
from burnish.errors import RecipeError
from burnish.evaluation.goals import parse_goal
from burnish.evaluation.metrics import METRICS, OURS, default_metric, find_metric
from burnish.evaluation.metrics.answers import RewardAccuracy, default_answer_metric
from burnish.evaluation.metrics.tagging import TokenAccuracy
from burnish.evaluation.metrics.texts import TEXT_METRICS, CorpusChrF
from burnish.evaluation.probes import SHIPPED
from burnish.method.options import FullOptions, HeadOptions, LoraOptions
from burnish.recipe.schema import Recipe
from burnish.task.recommendation import class_for
from burnish.types import Row

FEW_ROWS = 1_000  # below: parameter-efficient before full
LARGE_BASE = 400_000_000  # weights; above, full fine-tuning needs more memory than most machines have
LANGUAGE_EPOCHS = 3
IMAGE_EPOCHS = 20  # of under FEW_ROWS images; of more 8
IMAGE_RATE = 1e-3  # the rate for a small convolutional base; vision transformers want smaller ones
SEQ2SEQ_RATE = 3e-4  # full; ten times that for LoRA. T5 was pretrained with large steps and wants them again
SCRATCH_ENCODER_RATE = 5e-4  # of encoders that are drawn
SCRATCH_EPOCHS, SCRATCH_RATE = 30, 2e-3  # of weights that are drawn: the validation loss says when it is enough
PREFERENCE_RATE = 0.1  # of the rate for conversations: a preference is learned from small differences
EMBEDDING_EPOCHS, EMBEDDING_BATCH = 4, 64  # more rows to compare with at once; few rows need more steps instead
EMBEDDING_EPOCHS_OF_FEW, EMBEDDING_BATCH_OF_FEW = 10, 16
EMBEDDING_RATE = 0.5  # of the rate for classes: there is no new head to be moved
REFERENCE_WIDTH = 384  # the width the learning rates below were chosen on
# Factors and vectors of their own want larger steps still, and of one size in every base. Both rates are those of
# peft's guides (ia3, clm-prompt-tuning), which train with AdamW as we do; the papers say 3e-3 (T-Few) and 0.3 (Lester
# et al.) for Adafactor, whose steps are scaled by the size of what they change.
OWN_RATES = {"ia3": 8e-3, "prompt-tuning": 3e-2}
BESIDE = ("lora", "qlora", "adapter")  # start at zero beside the base's weights: larger steps than those want


def decide_method(recipe: Recipe, *, train_rows: int, base_parameters: int) -> tuple[Recipe, str | None]:
    """Fills in `method`; gives the recipe and the reason, None when the recipe says it."""
    if recipe.method is not None:
        return recipe, None
    if recipe.model.initialization == "random":
        return _with(recipe, method=FullOptions()), "method: full, because the weights are drawn and have to learn all"
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
    if recipe.model.initialization == "random":
        return _from_drawn_weights(recipe)
    filled: dict[str, Any] = {}
    notes: list[str] = []
    if recipe.training.epochs is None:
        filled["epochs"] = default_epochs(train_rows, classes)
        rows = f"{train_rows:,} rows in {classes} classes" if classes else f"{train_rows:,} rows"
        notes.append(f"training.epochs: {filled['epochs']}, for {rows}")
    if recipe.training.learning_rate is None:
        filled["learning_rate"] = default_learning_rate(method=_method_name(recipe), width=width)
        notes.append(f"training.learning_rate: {filled['learning_rate']:g}, for a base of width {width}")
    return _with(recipe, training=recipe.training.model_copy(update=filled)), notes


def _from_drawn_weights(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """Fills in what an encoder of classes is trained with that has learned nothing yet: all its layers alike."""
    training, said = recipe.training, recipe.training.model_fields_set
    drawn = {"epochs": SCRATCH_EPOCHS, "learning_rate": SCRATCH_ENCODER_RATE, "layer_decay": 1.0}
    filled = {name: value for name, value in drawn.items() if name not in said or getattr(training, name) is None}
    notes = [f"training.{name}: {value:g}, for weights that are drawn" for name, value in filled.items()]
    return _with(recipe, training=training.model_copy(update=filled)), notes


def decide_image_method(recipe: Recipe) -> tuple[Recipe, str | None]:
    """Fills in `method` of an image model; gives the recipe and the reason, None when the recipe says it."""
    if recipe.method is not None:
        return recipe, None
    return _with(recipe, method=FullOptions()), "method: full, because images of a new kind are learned in all layers"


def decide_image_training(recipe: Recipe, *, train_rows: int) -> tuple[Recipe, list[str]]:
    """Fills in epochs and learning rate of an image model, whose layers all learn at the same rate."""
    if isinstance(recipe.method, HeadOptions):
        return recipe, []
    said = recipe.training.model_fields_set
    filled: dict[str, Any] = {}
    notes: list[str] = []
    if recipe.training.epochs is None:
        filled["epochs"] = IMAGE_EPOCHS if train_rows < FEW_ROWS else IMAGE_EPOCHS // 2
        notes.append(f"training.epochs: {filled['epochs']}, for {train_rows:,} images")
    if recipe.training.learning_rate is None:
        filled["learning_rate"] = IMAGE_RATE
        notes.append(f"training.learning_rate: {IMAGE_RATE:g}, for images")
    if "layer_decay" not in said:
        filled["layer_decay"] = 1.0
    return _with(recipe, training=recipe.training.model_copy(update=filled)), notes


def decide_language_training(recipe: Recipe, *, task: str, width: int) -> tuple[Recipe, list[str]]:
    """Fills in what a language model is trained with.

    Raises:
        RecipeError: [recipe/invalid] for the method head, which a language model does not need.
    """
    if isinstance(recipe.method, HeadOptions):
        raise RecipeError(
            "recipe/invalid",
            "method: head solves a classifier's head; a language model brings its own",
            where="method",
            hint="write `method: lora`, `method: qlora`, `method: freeze` or `method: full`",
        )
    said, filled = recipe.training.model_fields_set, dict[str, Any]()
    notes: list[str] = []
    drawn = recipe.model.initialization == "random"
    if recipe.training.epochs is None:
        filled["epochs"] = SCRATCH_EPOCHS if drawn else LANGUAGE_EPOCHS
        notes.append(f"training.epochs: {filled['epochs']}; the loss on validation rows decides which weights are kept")
    if recipe.training.learning_rate is None:
        rate = SCRATCH_RATE if drawn else _language_rate(recipe, task, width)
        filled["learning_rate"] = float(f"{rate:.2g}")
        why = "weights that are drawn" if drawn else f"a language model of width {width}"
        notes.append(f"training.learning_rate: {rate:.2g}, for {why}")
    if "layer_decay" not in said:
        filled["layer_decay"] = 1.0  # lower layers of a language model have to learn as much
    if "label_smoothing" not in said or recipe.training.label_smoothing == 0.0:
        filled["label_smoothing"] = 0.0
    else:
        raise RecipeError(
            "recipe/invalid",
            "the words of an answer are not smoothed",
            where="training.label_smoothing",
            hint="leave it out",
        )
    return _with(recipe, training=recipe.training.model_copy(update=filled)), notes


def decide_embedding_training(recipe: Recipe, *, train_rows: int, width: int) -> tuple[Recipe, list[str]]:
    """Fills in what an embedding is trained with.

    Raises:
        RecipeError: [recipe/invalid] for smoothed labels.
    """
    training, notes = recipe.training, list[str]()
    if training.label_smoothing and "label_smoothing" in training.model_fields_set:
        raise RecipeError(
            "recipe/invalid", "there are no labels to smooth", where="training.label_smoothing", hint="leave it out"
        )
    filled: dict[str, Any] = {"label_smoothing": 0.0}
    epochs, batch = EMBEDDING_EPOCHS, EMBEDDING_BATCH
    if train_rows < FEW_ROWS:
        epochs, batch = EMBEDDING_EPOCHS_OF_FEW, EMBEDDING_BATCH_OF_FEW
    if training.epochs is None:
        filled["epochs"] = epochs
        notes.append(f"training.epochs: {epochs}, for {train_rows:,} rows; validation decides which weights are kept")
    if training.learning_rate is None:
        assert recipe.method is not None
        rate = default_learning_rate(method=recipe.method.name, width=width) * EMBEDDING_RATE
        filled["learning_rate"] = float(f"{rate:.2g}")
        notes.append(f"training.learning_rate: {filled['learning_rate']:g}, for a base of width {width}")
    if "global_batch_size" not in training.model_fields_set:
        filled["global_batch_size"] = batch
        notes.append(f"training.global_batch_size: {batch}, the rows that are compared with each other at once")
    return _with(recipe, training=training.model_copy(update=filled)), notes


def decide_embedding_metric(recipe: Recipe, first: Row) -> tuple[Recipe, str | None]:
    """The metric that rows like the first one can be judged by.

    Raises:
        RecipeError: [recipe/invalid] for a metric that says nothing about them.
    """
    metrics = class_for(first).metrics
    named = recipe.evaluation.metric
    if named not in (None, *metrics):
        raise RecipeError(
            "recipe/invalid",
            f"these rows are judged by {' or '.join(metrics)}, not by {named}",
            where="evaluation.metric",
            hint="leave it out",
        )
    evaluation = recipe.evaluation.model_copy(update={"metric": named or metrics[0]})
    return _with(recipe, evaluation=evaluation), None if named else f"evaluation.metric: {metrics[0]}"


def _language_rate(recipe: Recipe, task: str, width: int) -> float:
    method = _method_name(recipe)
    if task == "seq2seq":
        return SEQ2SEQ_RATE * (10 if method in BESIDE else 1)
    return default_language_rate(method=method, width=width) * (PREFERENCE_RATE if task == "preference" else 1.0)


def default_language_rate(*, method: str, width: int) -> float:
    """Peak rate by width of the base: 1e-5 at 4,096 for full fine-tuning, ten times that for LoRA; narrower, larger.

    >>> default_language_rate(method="lora", width=2048)
    0.0002
    """
    full = 1e-5 * 4_096 / max(width, 1)
    return OWN_RATES.get(method) or float(f"{10 * full if method in BESIDE else full:.2g}")


def decide_answer_metric(recipe: Recipe, task: str, rows: Sequence[Row]) -> tuple[Recipe, str | None]:
    """The metric that answers like those of the training rows can be checked with; of preferences the rewards'.

    Raises:
        RecipeError: [recipe/invalid] for a metric that says nothing about preferences, or about targets.
    """
    if task == "preference":
        return _with_reward_accuracy(recipe), None
    if task == "seq2seq":
        return _with_text_metric(recipe)
    if recipe.evaluation.metric is not None:
        return recipe, None
    answers = [answer_text(row) for row in rows if "messages" in row]
    if answers:
        metric, why = default_answer_metric(answers)
    else:
        metric, why = "loss", "plain texts have no answers to check"
    return _with(recipe, evaluation=recipe.evaluation.model_copy(update={"metric": metric})), (
        f"evaluation.metric: {metric}, {why}"
    )


def with_probes(recipe: Recipe, task: str) -> Recipe:
    """The recipe of a chat with our probes, unless it names others or none."""
    if task != "chat" or recipe.evaluation.forgetting.probes is not None:
        return recipe
    forgetting = recipe.evaluation.forgetting.model_copy(update={"probes": SHIPPED})
    return _with(recipe, evaluation=recipe.evaluation.model_copy(update={"forgetting": forgetting}))


def _with_text_metric(recipe: Recipe) -> tuple[Recipe, str | None]:
    """Corpus chrF unless the recipe names another metric that knows rows with several targets."""
    named, known = recipe.evaluation.metric, [metric.name for metric in TEXT_METRICS]
    goals = (("evaluation.goals", parse_goal(goal).metric) for goal in recipe.evaluation.goals)
    for place, metric in (("evaluation.metric", named), *goals):
        if metric in METRICS and metric not in known:
            raise RecipeError(
                "recipe/invalid",
                f"{metric} says nothing about rows that may have several targets",
                where=place,
                known=known,
                hint=f"write {known[0]} instead, or leave it out",
            )
    if named is not None:
        return recipe, None
    evaluation = recipe.evaluation.model_copy(update={"metric": CorpusChrF.name})
    return _with(recipe, evaluation=evaluation), f"evaluation.metric: {CorpusChrF.name}, for texts of any language"


def _with_reward_accuracy(recipe: Recipe) -> Recipe:
    name = RewardAccuracy.name
    if recipe.evaluation.metric not in (None, name):
        raise RecipeError(
            "recipe/invalid",
            f"preferences are judged by {name}, not by {recipe.evaluation.metric}",
            where="evaluation.metric",
            hint="leave it out",
        )
    return _with(recipe, evaluation=recipe.evaluation.model_copy(update={"metric": name}))


def answer_text(row: Row) -> str:
    """The last turn of a conversation as text: what is said, and a line of JSON for each call of a tool."""
    last = row["messages"][-1]
    calls = [
        json.dumps({"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])})
        for call in last.get("tool_calls") or ()
    ]
    content = last.get("content")
    return "\n".join([*([content] if isinstance(content, str) and content else []), *calls])


def default_epochs(train_rows: int, classes: int) -> int:
    """More passes for few rows and for many classes; chosen on validation rows of several sets (docs/benchmarks.md)."""
    if train_rows < FEW_ROWS:
        return 10
    return 6 if classes > 20 else 3


def default_learning_rate(*, method: str, width: int) -> float:
    """Peak rate by width of the base: 2e-4 at 384 (full), five times that for LoRA; wider bases want smaller steps."""
    full = 2e-4 * min(1.0, (REFERENCE_WIDTH / max(width, 1)) ** 2)
    return OWN_RATES.get(method) or float(f"{5 * full if method in BESIDE else full:.2g}")


def decide_metric(recipe: Recipe, task: Any, label_counts: Mapping[str, int]) -> tuple[Recipe, str | None]:
    """The metric that decides, by the task: of one label per row accuracy, or macro-F1 when the classes are uneven.

    Raises:
        RecipeError: [recipe/invalid] for a metric of burnish's that says nothing about this task.
    """
    named = recipe.evaluation.metric
    if named is not None:
        if named in OURS and named not in task.metrics:
            raise RecipeError(
                "recipe/invalid",
                f"{named} says nothing about {task.name}",
                where="evaluation.metric",
                known=task.metrics,
                hint=f"write `evaluation: {{metric: {task.metrics[0]}}}`, or leave it out",
            )
        return recipe, None
    metric, reason = _first_metric(task, label_counts)
    return _with(recipe, evaluation=recipe.evaluation.model_copy(update={"metric": metric})), (
        f"evaluation.metric: {metric}{reason}"
    )


def _first_metric(task: Any, label_counts: Mapping[str, int]) -> tuple[str, str]:
    """A metric, and the reason as the end of a sentence."""
    if "label" in task.columns and label_counts:
        smallest, largest = min(label_counts.values()), max(label_counts.values())
        return default_metric(label_counts), f", classes have {smallest:,} to {largest:,} training rows"
    if "tags" in task.columns and not is_scheme(label_counts):
        return TokenAccuracy.name, ", the tags mark single tokens"
    return task.metrics[0], ""


def check_evaluation(recipe: Recipe, labels: Sequence[str], *, tagged: bool = False) -> None:
    """Refuses a metric or a goal that could not be judged, before anything is trained.

    Args:
        labels: of the rows; of `tagged` ones the tags, of which goals name what they mark.

    Raises:
        RecipeError: [recipe/unknown-metric], [recipe/bad-goal], [recipe/unknown-goal-label].
    """
    if tagged:
        labels = sorted({kind_of(tag) for tag in labels} - {""}) if is_scheme(labels) else ()
    if recipe.evaluation.metric is not None:
        find_metric(recipe.evaluation.metric)
    for goal in recipe.evaluation.goals:
        parse_goal(goal, labels)


def _method_name(recipe: Recipe) -> str:
    return recipe.method.name if recipe.method is not None else ""


def _with(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_copy(update=changes)
