"""Reading the rows that a monitor looks at: as in training, with or without what is to be learned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from burnish.data.clean import check_bad_rows, to_examples
from burnish.data.columns import check_columns, infer_columns
from burnish.data.formats import detect_format
from burnish.data.options import DataOptions
from burnish.data.records import SourceShape
from burnish.data.source import inspect_source, read_source
from burnish.errors import DataProblemError
from burnish.lifecycle.run import Run
from burnish.lifecycle.runs import ANSWERS
from burnish.lifecycle.train import task_class
from burnish.recipe.schema import Recipe
from burnish.task.build import TRAINED_ON, WRITING
from burnish.task.tabular import Tabular
from burnish.types import Example, Problem

LEARNED = ANSWERS | {"tags", "answers"}


def read_new_rows(run: Run, recipe: Recipe, path: Path, *, labels: bool) -> tuple[list[Example], list[Problem]]:
    """The rows of a file in canonical columns, and those that cannot be read.

    Args:
        labels: with what is right for each row, in the columns of the training.

    Raises:
        DataReadError: the file cannot be read, or lacks a column of the training.
        DataProblemError: [data/too-many-bad-rows]; [monitor/no-rows].
    """
    items = list(_items(run, recipe, path, labels=labels))
    rows = [item for item in items if isinstance(item, Example)]
    refused = [item for item in items if isinstance(item, Problem)]
    check_bad_rows(refused, len(items), recipe.data.max_bad_ratio)
    if not rows:
        raise DataProblemError("monitor/no-rows", "holds no rows to compare", where=str(path), hint="name another file")
    return rows, refused


def _items(run: Run, recipe: Recipe, path: Path, *, labels: bool) -> Iterable[Example | Problem]:
    task = str(run.folder.manifest().get("task"))
    columns = dict(run.folder.manifest().get("data", {}).get("columns", {}))
    plain = recipe.data.model_copy(update={"columns": {}, "format": None, "header": None})
    if task == Tabular.name:
        return _of_table(recipe, path, plain, columns.get("target") if labels else None)
    if task in WRITING:
        return _prompts(path, plain)
    wanted = dict(task_class(recipe).columns)
    kept = {name: column for name, column in columns.items() if name in wanted and (labels or name not in LEARNED)}
    options = plain.model_copy(update={"columns": kept})
    shape = inspect_source(path, options)
    check_columns(shape, kept)
    records = read_source(path, shape, options)
    if labels and task in TRAINED_ON:
        found = detect_format(shape.columns, shape.sample, tasks=TRAINED_ON[task], called=kept)
        if found is not None:
            return found.examples(records)
    return to_examples(records, kept, wanted, recipe.data)


def _of_table(recipe: Recipe, path: Path, options: DataOptions, target: str | None) -> Iterable[Example | Problem]:
    shape = inspect_source(path, options)
    if target is not None:
        check_columns(shape, {"target": target})
    for record in read_source(path, shape, options):
        if isinstance(record, Problem):
            yield record
        elif target is None:
            yield Example({"features": record.values}, record.origin)
        else:
            features = {name: value for name, value in record.values.items() if name != target}
            yield Example({"features": features, "target": record.values[target]}, record.origin)


def _prompts(path: Path, options: DataOptions) -> Iterable[Example | Problem]:
    """Conversations, pairs of source and target, or texts, each a prompt."""
    shape: SourceShape = inspect_source(path, options)
    records = read_source(path, shape, options)
    found = detect_format(shape.columns, shape.sample)
    if found is not None and found.task in WRITING:
        return found.examples(records)
    columns = infer_columns(shape, options, {"text": str})
    return to_examples(records, columns, {"text": str}, options)
