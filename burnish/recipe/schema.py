"""The shape of a recipe, composed of the rooms' own options."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from pydantic import Field

from burnish.data.options import DataOptions, TableOptions
from burnish.engine.options import AugmentationOptions, CheckpointOptions, KeepAbilityOptions, TrainingOptions
from burnish.evaluation.options import EvaluationOptions, ForgettingOptions
from burnish.method.options import (
    FreezeOptions,
    FullOptions,
    HeadOptions,
    IA3Options,
    LoraOptions,
    MethodOptions,
    QLoraOptions,
)
from burnish.model.catalogue import RANDOM_ROWS
from burnish.model.options import ModelOptions
from burnish.monitoring.options import MonitoringOptions
from burnish.registry.options import TrackingOptions
from burnish.serving.exports.kinds import FORMS
from burnish.serving.options import ExportOptions
from burnish.settings import Options
from burnish.task.options import ONLY, EmbeddingOptions, PreferenceOptions


class Recipe(Options):
    """What to do with which data. Only `data` is needed; what is left out is inferred and written to the run."""

    task: str | None = Field(default=None, description="what is learned; null: inferred from the columns")
    model: ModelOptions = ModelOptions()
    data: DataOptions
    table: TableOptions = TableOptions()
    method: MethodOptions | None = Field(default=None, description="which weights learn; null: from size of the data")
    preference: PreferenceOptions = PreferenceOptions()
    embedding: EmbeddingOptions = EmbeddingOptions()
    training: TrainingOptions = TrainingOptions()
    augmentation: AugmentationOptions = AugmentationOptions()
    checkpoint: CheckpointOptions = CheckpointOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    monitoring: MonitoringOptions = MonitoringOptions()
    tracking: TrackingOptions = TrackingOptions()
    export: ExportOptions = ExportOptions()


def contradictions(recipe: Recipe) -> list[tuple[str, str]]:
    """(field, what is wrong) of everything in a recipe that cannot be true together."""
    found: list[tuple[str, str]] = []
    data, training = recipe.data, recipe.training
    if data.test is not None and _changed(data, "test_ratio"):
        found.append(("data.test_ratio", "a test file is given, so no rows are split off for the test"))
    if data.validation is not None and _changed(data, "validation_ratio"):
        found.append(("data.validation_ratio", "a validation file is given, so no rows are split off for validation"))
    if data.time_column is not None and data.test is not None and data.validation is not None:
        found.append(("data.time_column", "validation and test files are given, so no rows are split off by time"))
    if data.clean.long_rows != "truncate" and data.clean.max_characters is None:
        found.append(("data.clean.long_rows", "no row is too long while data.clean.max_characters is null"))
    if recipe.evaluation.groups and recipe.task in _NOT_BY_ROW:
        found.append(("evaluation.groups", f"a {recipe.task} is not judged group by group"))
    if recipe.task not in (None, "chat"):
        said = ((name, lacks) for name, lacks in _OF_ANSWERS if _changed(recipe.evaluation, name))
        found += [(f"evaluation.{name}", f"a {recipe.task} {lacks}") for name, lacks in said]
    if recipe.evaluation.moderator_labels and recipe.evaluation.moderator is None:
        found.append(("evaluation.moderator_labels", "no moderator judges; name one in evaluation.moderator"))
    if recipe.evaluation.max_gap is not None and not recipe.evaluation.groups:
        found.append(("evaluation.max_gap", "no groups are compared; name columns in evaluation.groups"))
    if recipe.task in ("chat", "preference", "seq2seq"):
        rows = "rows of source and target" if recipe.task == "seq2seq" else "conversations"
        said = ((name, lacks) for name, lacks in _NOT_OF_CHAT if _set(data, name))
        found += [(f"data.{name}", f"{rows} have no {lacks}") for name, lacks in said]
    if recipe.task not in (None, "chat", "preference") and _changed(data, "long_conversations"):
        found.append(("data.long_conversations", "these rows are no conversations"))
    if recipe.task == "image-classification":
        said = ((name, lacks) for name, lacks in _NOT_OF_IMAGES if _set(data, name))
        found += [(f"data.{name}", f"images have no {lacks}") for name, lacks in said]
        if recipe.model.max_length is not None:
            found.append(("model.max_length", "images have no tokens to count"))
    elif recipe.task is not None and recipe.augmentation != AugmentationOptions():
        found.append(("augmentation", f"a {recipe.task} learns from no images"))
    if recipe.task == "preference":
        found += _of_preferences(recipe)
    elif recipe.task is not None and recipe.preference != PreferenceOptions():
        found.append(("preference", f"a {recipe.task} learns from no preferences"))
    if recipe.task == "tabular":
        found += _of_tables(recipe)
    elif recipe.task is not None and (recipe.table != TableOptions() or recipe.model.base == RANDOM_ROWS):
        field = "table" if recipe.table != TableOptions() else "model.base"
        found.append((field, f"a {recipe.task} reads no columns of a table"))
    if recipe.task == "embedding":
        said = ((name, lacks) for name, lacks in _NOT_OF_EMBEDDING if _set(data, name))
        found += [(f"data.{name}", f"the pairs of an embedding have no {lacks}") for name, lacks in said]
    elif recipe.task == "recommendation":
        said = ((name, lacks) for name, lacks in _NOT_OF_CHOICES if _set(data, name))
        found += [(f"data.{name}", lacks) for name, lacks in said]
    elif recipe.task is not None and recipe.embedding != EmbeddingOptions():
        found.append(("embedding", f"the task {recipe.task} compares no vectors"))
    if recipe.task not in (None, "seq2seq") and recipe.model.max_target_length is not None:
        found.append(("model.max_target_length", f"{recipe.task} has no targets; use model.max_length"))
    if recipe.model.initialization == "random":
        if recipe.task not in (None, *DRAWN):
            found.append(("model.initialization", f"a {recipe.task} starts from what its base has learned"))
        if recipe.method not in (None, FullOptions()):
            found.append(("model.initialization", "weights that are drawn have to learn all: write `method: full`"))
    found += _of_forgetting(recipe)
    if recipe.task is not None:
        absent = [kind for kind in recipe.export.to if recipe.task not in FORMS[kind].tasks]
        found += [("export.to", f"{kind} does not exist for a {recipe.task}") for kind in absent]
    if training.frozen_products == "fp8" and (recipe.method is not None and recipe.method.name != "lora"):
        found.append(("training.frozen_products", "frozen weights are multiplied in 8 bits beside method: lora alone"))
    if training.frozen_products == "fp8" and training.precision == "fp32":
        found.append(("training.frozen_products", "8 bits stand beside bf16, not beside training.precision: fp32"))
    if training.max_cost is not None and training.price_per_hour is None:
        found.append(("training.max_cost", "nothing says what an hour costs; set training.price_per_hour"))
    if isinstance(recipe.method, HeadOptions):
        stepwise = ("epochs", "max_steps", "learning_rate", "average_decay", "dropout")
        found += [
            (f"training.{name}", "method: head is solved at once and takes no steps")
            for name in stepwise
            if _changed(training, name)
        ]
    return found


def _of_forgetting(recipe: Recipe) -> list[tuple[str, str]]:
    """What must not be forgotten, and the weights a training ends with."""
    keep, method = recipe.training.keep_ability, recipe.method
    found = []
    if recipe.task not in (None, "chat", "preference") and recipe.evaluation.forgetting != ForgettingOptions():
        found.append(("evaluation.forgetting", f"a {recipe.task} goes on no text, which is what probes ask for"))
    if recipe.task not in (None, "chat") and keep != KeepAbilityOptions():
        found.append(("training.keep_ability", f"only a chat is kept from forgetting, this is a {recipe.task}"))
    if keep.rows is None:
        lacking = [name for name in ("replay", "ewc") if _changed(keep, name)]
        found += [(f"training.keep_ability.{name}", "it needs rows of what must not be forgotten") for name in lacking]
    elif not (keep.replay or keep.ewc):
        found.append(("training.keep_ability.rows", "nothing reads them: set replay or ewc beside them"))
    if isinstance(method, LoraOptions) and method.decomposed and keep.pulls:
        found.append(("method.decomposed", "the update of DoRA is no matrix that could be pulled to zero"))
    if isinstance(method, QLoraOptions) and keep.ewc:
        found.append(("training.keep_ability.ewc", "weights in four bits have no gradient to measure it by"))
    on_a_line = isinstance(method, IN_PLACE) and not getattr(method, "decomposed", False)
    if method is not None and recipe.checkpoint.choose in ("interpolation", "auto") and not on_a_line:
        found.append(("checkpoint.choose", "what this method learned cannot be mixed with the base"))
    return found


def _of_preferences(recipe: Recipe) -> list[tuple[str, str]]:
    options, loss = recipe.preference, recipe.preference.loss
    found = [
        (f"preference.{name}", f"only the loss {own} reads it, this one is {loss}")
        for name, own in ONLY.items()
        if own != loss and _changed(options, name)
    ]
    if recipe.data.long_conversations not in PREFERENCE_LONG_ROWS:
        ways = " or ".join(PREFERENCE_LONG_ROWS)
        found.append(("data.long_conversations", f"what is too long for a comparison can be left out: {ways}"))
    return found


# Methods whose weights lie on a line to what they were: every weight changed in place, or an update that is scaled.
IN_PLACE = (FullOptions, FreezeOptions, LoraOptions, IA3Options)
_OF_ANSWERS = (
    ("memorisation_rows", "is not asked to go on with its rows"),
    ("canaries", "is not searched for planted secrets"),
    ("moderator", "gives no answers of its own to judge"),
)
_NOT_BY_ROW = ("chat", "preference", "seq2seq", "embedding", "recommendation")
DRAWN = ("seq2seq", "text-classification")  # tasks that may start from weights that are drawn
_NOT_OF_IMAGES = (
    ("noisy_copies", "texts that may be spelt otherwise; see the section augmentation"),
    ("clean.redact", "text to redact"),
    ("clean.max_characters", "characters to count"),
    ("clean.length_outliers", "characters to count"),
)


def _of_tables(recipe: Recipe) -> list[tuple[str, str]]:
    table = recipe.table
    found = [
        (f"data.{name}", f"cells of a table have no {lacks}")
        for name, lacks in _NOT_OF_TABLES
        if _set(recipe.data, name)
    ]
    named = Counter([*table.numeric, *table.categorical, *table.dates, *table.drop])
    twice = sorted(column for column, count in named.items() if count > 1)
    found += [("table", f'the column "{column}" is named more than once') for column in twice]
    if table.predict == "number" and table.positive is not None:
        found.append(("table.positive", "numbers have no positive class"))
    return found


_NOT_OF_TABLES = (
    ("noisy_copies", "texts that may be spelt otherwise"),
    ("label_map", "labels that are spelt otherwise"),
    ("clean.relabel", "labels that are audited"),
    ("clean.redact", "texts that are redacted"),
    ("clean.near_duplicates", "texts that say almost the same"),
    ("clean.max_characters", "texts that are cut"),
    ("clean.length_outliers", "texts of unusual length"),
)
_SPLIT_BY_TIME = ("validation", "test", "validation_ratio", "test_ratio", "group_by", "time_column")
_NOT_OF_CHOICES = (
    *((name, "of each user the last choice tests and the one before it validates") for name in _SPLIT_BY_TIME),
    *((name, f"choices have no {lacks}") for name, lacks in (("balance", "classes to even out"), *_NOT_OF_TABLES)),
)
PREFERENCE_LONG_ROWS = ("drop", "drop-first-turns")
_NOT_OF_CHAT = (
    ("balance", "classes to even out"),
    ("noisy_copies", "texts that may be spelt otherwise"),
    ("label_map", "labels"),
    ("clean.relabel", "labels"),
    ("clean.max_characters", "characters to count; use model.max_length"),
    ("clean.length_outliers", "characters to count; use model.max_length"),
)
_NOT_OF_EMBEDDING = tuple((name, lacks) for name, lacks in _NOT_OF_CHAT if not lacks.startswith("labels"))


def _set(options: Options, name: str) -> bool:
    """Whether a field, perhaps of a section inside, differs from its default."""
    section, _, field = name.rpartition(".")
    return _changed(getattr(options, section) if section else options, field)


def _changed(options: Options, name: str) -> bool:
    """Whether a field differs from its default (a resolved recipe writes every default out)."""
    return bool(getattr(options, name) != type(options).model_fields[name].get_default(call_default_factory=True))


def json_schema() -> dict[str, Any]:
    """JSON schema of a recipe for editors; shipped as recipe.schema.json."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "burnish recipe"}


def json_schema_text() -> str:
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
