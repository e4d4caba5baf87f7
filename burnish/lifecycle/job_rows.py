"""The files of a job, read before anything is trained: what is wrong with them, line by line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.clean import to_examples
from burnish.data.columns import infer_columns
from burnish.data.images import examples_of
from burnish.data.row_format import IMAGES
from burnish.data.source import inspect_source, read_source
from burnish.errors import BurnishError, DataProblemError, excerpt
from burnish.lifecycle.rows import settled_task
from burnish.recipe.read import build_recipe
from burnish.recipe.schema import Recipe
from burnish.task.build import TASKS
from burnish.task.text_classification import TextClassification
from burnish.types import Problem

SHOWN = 20  # faults in one message
FIRST_ROWS = 100  # that are looked at while the request waits


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What reading a file of a job showed.

    Attributes:
        rows: all of them, wrong ones included.
        faults: "line 7: the last turn is the user's, not the assistant's", all that were found.
        task: what the rows are for; None when they cannot be read as anything.
        whole: whether the file was read to its end.
    """

    rows: int
    faults: tuple[str, ...]
    task: str | None
    whole: bool

    def message(self, param: str, *, minimum: int, allowed: float) -> str | None:
        """What to say about a file that cannot be used; None for one that can.

        Args:
            param: "training_file" or "validation_file".
            minimum: rows that are needed.
            allowed: share of the rows, 0..1, that may be wrong.
        """
        what = param.replace("_", " ")
        if self.task is None:
            return f"The {what} cannot be used: {self.faults[0]}"
        if len(self.faults) > allowed * self.rows:
            more = len(self.faults) - SHOWN
            shown = "; ".join(self.faults[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
            count = "1 problem" if len(self.faults) == 1 else f"{len(self.faults)} problems"
            return f"The {what} has {count}: {shown}"
        usable = self.rows - len(self.faults)
        if self.whole and usable < minimum:
            return f"The {what} has {usable} examples, but at least {minimum} are needed."
        return None


def check_file(path: Path, tree: Mapping[str, Any], *, rows: int | None = None) -> CheckedFile:
    """Reads a file of a job as its recipe would.

    Args:
        path: of its bytes.
        tree: recipe of the job, see `recipe_tree`.
        rows: the first ones, at most; None: all.
    """
    data = {**tree.get("data", {}), "train": str(path)}
    recipe = build_recipe({**_without_columns(tree), "data": data}, source="job")
    try:
        recipe, items = _items(path, recipe)
        read = list(items if rows is None else itertools.islice(items, rows))
        whole = rows is None or len(read) < rows
    except BurnishError as error:
        return CheckedFile(0, (_said(error, path),), None, whole=False)
    faults = tuple(f"line {item.origin.line}: {item.reason}" for item in read if isinstance(item, Problem))
    return CheckedFile(len(read), faults, recipe.task or TextClassification.name, whole)


def _items(path: Path, recipe: Recipe) -> tuple[Recipe, Iterator[Any]]:
    """The recipe with the task of the rows, and each row as an example or a problem."""
    recipe, row_format = settled_task(recipe, Path())
    shape = inspect_source(path, recipe.data, name=path.name)
    records = read_source(path, shape, recipe.data)
    if row_format is not None and row_format.name == IMAGES:
        raise DataProblemError("data/images-by-name", "the rows name files of images, which this server does not open")
    if row_format is not None:
        return recipe, iter(examples_of(row_format, records, path, kept=()))
    wanted = TASKS[recipe.task or TextClassification.name].columns
    columns = infer_columns(shape, recipe.data, wanted)
    return recipe, iter(to_examples(records, columns, wanted, recipe.data))


def _without_columns(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a recipe, each a dict of its own."""
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in tree.items()}


def _said(error: BurnishError, path: Path) -> str:
    """What is wrong with a whole file, with the line where there is one, and without our name for the file."""
    place, _, line = (error.where or "").rpartition(":")
    text = "; ".join([error.message, *error.details[:SHOWN]]).replace(str(path), "the file")
    known = f" (known: {', '.join(map(excerpt, error.known[:SHOWN]))})" if error.known else ""
    return f"line {line}: {text}{known}" if place and line.isdigit() else f"{text}{known}"
