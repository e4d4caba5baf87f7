"""`burnish init`: looks at the data and writes a recipe a person can read and change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.errors import UsageError
from burnish.lifecycle.own import Own
from burnish.lifecycle.recipe_of import recipe_of
from burnish.lifecycle.resolve import (
    FEW_ROWS,
    LANGUAGE_EPOCHS,
    decide_answer_metric,
    decide_embedding_metric,
    decide_metric,
    default_epochs,
)
from burnish.lifecycle.resolve_table import decide_table_metric
from burnish.lifecycle.rows import LEARNS
from burnish.lifecycle.train import read_rows
from burnish.recipe.schema import Recipe
from burnish.storage.durable import make_folder, write_text
from burnish.task.embedding import Embedding
from burnish.task.image_classification import ImageClassification
from burnish.task.options import PREFERENCE_LOSSES
from burnish.task.recommendation import Recommendation
from burnish.task.seq2seq import Seq2Seq
from burnish.task.text_classification import TextClassification
from burnish.types import Split

SCHEMA = Path(__file__).parents[1] / "recipe" / "recipe.schema.json"
TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Recipe for burnish: only `data` is needed, everything else shows what would be chosen anyway.
# Check the data:  burnish check {name}
# Train and judge: burnish train {name}
task: text-classification            # one label for each text

model:
  base: minilm                       # alias, hub id (owner/name), local folder, or an earlier run

data:
  train: {train}
  # test: test.csv                   # without it: 70 % learn, 15 % choose and stop, 15 % judge once
  columns: {{text: {text}, label: {label}}}
  # {labels} labels in {rows} rows; {smallest} to {largest} rows each

method: {method:<29}# head (seconds), lora (few rows, large bases) or full

training:
  epochs: {epochs:<27}# at most; training stops when validation stops improving
  seed: 13

evaluation:
  metric: {metric:<27}# decides early stopping and the verdict
  # goals: ["{metric} >= 0.90"]    # what success means, stated before training
  minimum_effect: 0.01               # smallest gain over the best arm without fine-tuning that is worth having
"""
CHAT_TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Recipe for burnish: a base that writes texts must be named, everything else shows what would be chosen anyway.
# Look at what is learned: burnish check {name} --show-mask 3
# Train and judge:         burnish train {name}
task: chat                           # what the assistant says in each conversation

model:
  base: HuggingFaceTB/SmolLM2-135M-Instruct    # a causal language model: hub id, local folder, or an earlier run
  # chat_template: plain             # for a base without a template of its own
  # max_length: 2048                 # tokens of a conversation that are read; longer ones are left out and listed

data:
  train: {train}
  # test: test.jsonl                 # without it: 70 % learn, 15 % choose and stop, 15 % judge once
  # {rows} conversations

method: lora                         # lora, qlora (base in four bits), freeze (last layers) or full

training:
  epochs: {epochs:<27}# at most; training stops when validation stops improving
  seed: 13

evaluation:
  metric: {metric:<27}# of the answers to held-out prompts: it decides the verdict
  minimum_effect: 0.01               # smallest gain over the best arm without fine-tuning that is worth having
"""
PREFERENCE_TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Recipe for burnish: a base that writes texts must be named, everything else shows what would be chosen anyway.
# Look at both answers:  burnish check {name} --show-mask 3
# Train and judge:       burnish train {name}
task: preference                     # which of two answers is the better one

model:
  base: HuggingFaceTB/SmolLM2-135M-Instruct    # best one that was tuned on such answers: folder, hub id or run

data:
  train: {train}
  # test: test.jsonl                 # without it: 70 % learn, 15 % choose and stop, 15 % judge once
  # {rows} rows

preference:
  loss: {loss:<31}# {losses}
  # beta: 0.1                        # how closely the model stays to the base: higher is closer

method: lora                         # lora, qlora (base in four bits), freeze (last layers) or full

training:
  epochs: {epochs:<27}# at most; training stops when validation stops improving
  seed: 13

evaluation:
  minimum_effect: 0.01               # smallest gain of reward accuracy that is worth having
"""


TASK_TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Recipe for burnish: only `data` is needed, everything else shows what would be chosen anyway.
# Check the data:  burnish check {name}
# Train and judge: burnish train {name}
task: {task:<31}# {learns}

model:
  base: {base:<29}# alias, hub id (owner/name), local folder, or an earlier run

data:
  train: {train}
  # {parts}
  columns: {columns}
  # {rows} rows

method: {method:<29}# {methods}

training:
  seed: 13

evaluation:
  metric: {metric:<27}# decides early stopping and the verdict
  minimum_effect: 0.01               # smallest gain over the best arm without fine-tuning that is worth having
"""
_PARTS = "test: FILE                       # without it: 70 % learn, 15 % choose and stop, 15 % judge once"
_PARTS_OF_CHOICES = "of each user the last choice tests and the one before it validates"


TABLE_TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Recipe for burnish: only `data` is needed, everything else shows what would be chosen anyway.
# Check the data:  burnish check {name}
# Train and judge: burnish train {name}
task: tabular                        # one column from the others; needs pip install 'burnish[tabular]'

data:
  train: {train}
  # test: FILE                       # without it: 70 % learn, 15 % choose and stop, 15 % judge once
  columns: {columns}
  # time_column: COLUMN              # the newest rows test, for tables whose rows change with time
  # {rows} rows

table:
{positive}  categorical: []                    # columns of numbers that are names
  drop: []                           # columns that are not known yet when the model is asked

training:
  seed: 13

evaluation:
  metric: {metric:<27}# decides early stopping and the verdict
  minimum_effect: 0.01               # smallest gain over the trees and the other arms that is worth having
"""


def write_recipe(data: Path, output: Path) -> dict[str, Any]:
    """Writes a commented recipe for a data file; never over an existing file.

    Returns:
        {"recipe": path, "columns", "labels", "rows", "notes"}.

    Raises:
        UsageError: [cli/file-exists].
        DataProblemError: [data/not-trained-yet] for rows of a task that is not trained: no recipe for them would run.
    """
    if output.exists():
        raise UsageError(
            "cli/file-exists", "this file exists already", where=str(output), hint="name another with --output FILE"
        )
    recipe, _ = recipe_of(data, test=None, overrides=(), seed=None)
    recipe, task, prepared = read_rows(recipe, Own())
    rows = len(prepared.splits[Split.TRAIN])
    write = {
        "chat": _of_chat,
        "preference": _of_preferences,
        "tabular": _of_table,
        "text-classification": _of_labels,
    }.get(task.name)
    text = write(data, output, recipe, prepared) if write else _of_task(data, output, recipe, prepared, task)
    make_folder(output.parent)
    write_text(output, text)
    return {
        "recipe": str(output),
        "columns": dict(prepared.columns),
        "labels": list(prepared.labels),
        "rows": rows,
        "notes": list(prepared.notes) + list(prepared.warnings),
    }


def _relative(path: Path, folder: Path) -> str:
    """`path` as seen from the recipe's folder, when it lies below it."""
    absolute = path.resolve()
    base = folder.resolve()
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(absolute)


def _of_labels(data: Path, output: Path, recipe: Recipe, prepared: PreparedData) -> str:
    counts = prepared.label_counts[Split.TRAIN]
    rows = len(prepared.splits[Split.TRAIN])
    decided, _ = decide_metric(recipe, TextClassification, counts)
    return TEMPLATE.format(
        schema=SCHEMA,
        name=output.name,
        train=json.dumps(_relative(data, output.parent)),
        text=json.dumps(prepared.columns["text"]),
        label=json.dumps(prepared.columns["label"]),
        labels=len(prepared.labels),
        rows=f"{sum(len(part) for part in prepared.splits.values()):,}",
        smallest=f"{min(counts.values()):,}",
        largest=f"{max(counts.values()):,}",
        method="lora" if rows < 1_000 else "full",
        epochs=default_epochs(rows, len(prepared.labels)),
        metric=decided.evaluation.metric,
    )


def _of_preferences(data: Path, output: Path, recipe: Recipe, prepared: PreparedData) -> str:
    return PREFERENCE_TEMPLATE.format(
        schema=SCHEMA,
        name=output.name,
        train=json.dumps(_relative(data, output.parent)),
        rows=f"{sum(len(part) for part in prepared.splits.values()):,}",
        loss=recipe.preference.loss,
        losses=", ".join(PREFERENCE_LOSSES),
        epochs=LANGUAGE_EPOCHS,
    )


def _of_chat(data: Path, output: Path, recipe: Recipe, prepared: PreparedData) -> str:
    decided, _ = decide_answer_metric(recipe, "chat", [example.row for example in prepared.splits[Split.TRAIN]])
    return CHAT_TEMPLATE.format(
        schema=SCHEMA,
        name=output.name,
        train=json.dumps(_relative(data, output.parent)),
        rows=f"{sum(len(part) for part in prepared.splits.values()):,}",
        epochs=LANGUAGE_EPOCHS,
        metric=decided.evaluation.metric,
    )


_BASES = {Seq2Seq.name: "google-t5/t5-small", ImageClassification.name: "microsoft/resnet-18"}


def _of_task(data: Path, output: Path, recipe: Recipe, prepared: PreparedData, task: Any) -> str:
    if task.name in (Embedding.name, Recommendation.name):
        decided, _ = decide_embedding_metric(recipe, prepared.splits[Split.TRAIN][0].row)
    else:
        decided, _ = decide_metric(recipe, task, prepared.label_counts[Split.TRAIN])
    rows = len(prepared.splits[Split.TRAIN])
    images = task.name == ImageClassification.name
    return TASK_TEMPLATE.format(
        schema=SCHEMA,
        name=output.name,
        task=task.name,
        base=_BASES.get(task.name, "minilm"),
        learns=LEARNS.get(task.row_kinds[0], ""),
        parts=_PARTS_OF_CHOICES if task.name == Recommendation.name else _PARTS,
        train=json.dumps(_relative(data, output.parent)),
        columns=json.dumps(dict(prepared.columns)),
        rows=f"{sum(len(part) for part in prepared.splits.values()):,}",
        method="lora" if rows < FEW_ROWS and "lora" in task.methods and not images else "full",
        methods=", ".join(task.methods),
        metric=decided.evaluation.metric,
    )


def _of_table(data: Path, output: Path, recipe: Recipe, prepared: PreparedData) -> str:
    decided, _ = decide_table_metric(recipe, prepared.label_counts[Split.TRAIN])
    positive = decided.table.positive
    of_two = f"  positive: {json.dumps(positive)}".ljust(37) + "# the class that is looked for\n" if positive else ""
    return TABLE_TEMPLATE.format(
        schema=SCHEMA,
        name=output.name,
        train=json.dumps(_relative(data, output.parent)),
        columns=json.dumps(dict(prepared.columns)),
        rows=f"{sum(len(part) for part in prepared.splits.values()):,}",
        positive=of_two,
        metric=decided.evaluation.metric,
    )
