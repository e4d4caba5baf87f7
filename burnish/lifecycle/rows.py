"""What a recipe's rows are for: what it says, or what their columns and values show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from burnish.data.files import find_files
from burnish.data.formats import detect_format
from burnish.data.options import DataOptions
from burnish.data.records import SourceShape
from burnish.data.remembered import inspect_once
from burnish.data.row_format import RowFormat
from burnish.data.row_values import table_row, table_row_with_number
from burnish.errors import DataProblemError, RecipeError, excerpt
from burnish.model.catalogue import RANDOM_ROWS
from burnish.model.options import ModelOptions
from burnish.recipe.schema import Recipe
from burnish.task.build import TASKS, TRAINED_ON
from burnish.task.tabular import Tabular
from burnish.task.text_classification import TextClassification

TRAINED = TextClassification.name  # the task of rows with a text and a label, which are read by their columns
LEARNS = {
    "chat": "to answer as the assistant does",
    "preference": "to prefer the better of two answers",
    "reinforcement": "to write answers that are graded well",
    "token-classification": "to tag each token",
    "question-answering": "which words of a text answer a question",
    "text-pair-classification": "what one text is to another",
    "multi-label-classification": "which labels a text has",
    "text-regression": "to put a number on a text",
    "embedding": "which texts belong together",
    "seq2seq": "to write one text for another",
    "image-classification": "to name what an image shows",
    "image-text": "which words belong to an image",
    "audio-classification": "to name what is heard",
    "speech-recognition": "to write down what is said",
    "recommendation": "what somebody chooses next",
    "tabular": "to predict one column from the others",
    "language-modelling": "to go on writing in this manner",
}


def carried(recipe: Recipe) -> DataOptions:
    """The recipe's `data` section, whose rows bring along the columns that their groups are told by."""
    named = dict.fromkeys([*recipe.data.keep_columns, *recipe.evaluation.groups])
    return recipe.data.model_copy(update={"keep_columns": tuple(named)})


def other_rows(recipe: Recipe, folder: Path) -> RowFormat | None:
    """The format of the first training file; None when it is text with a label, or the recipe says what it is.

    Raises:
        DataReadError: the file cannot be read.
    """
    if recipe.task in (*TRAINED_ON, *_ALIASES):
        return _for_task(recipe, folder)
    columns = set(recipe.data.columns)
    if recipe.task not in (None, TRAINED) or (columns & {"text", "label"} and "image" not in columns):
        return None
    found = _found(recipe, folder)
    if found is None or found.task == TRAINED or (recipe.task == TRAINED and found.task not in _OTHER_LABELS):
        return None
    return found


# Texts that a file of `task: text-classification` may also hold: a text with any number of labels, or with a number.
_OTHER_LABELS = ("multi-label-classification", "text-regression")
_ALIASES = {"text-pair": ("text-pair-classification", "text-pair-regression")}  # which one the rows say


def explain(rows: RowFormat) -> str:
    """Two sentences: what was seen, and what it means."""
    article = "an" if rows.task[0] in "aeiou" else "a"
    learns = f"From such rows {article} {rows.task} model learns {LEARNS[rows.task]}."
    return f"{rows.reason[0].upper()}{rows.reason[1:]}. {learns}"


def settled_task(recipe: Recipe, folder: Path) -> tuple[Recipe, RowFormat | None]:
    """The recipe with its task, and the format of its rows where it is not plain columns that are read.

    Raises:
        DataProblemError: [data/not-trained-yet] for rows that this version reads and checks, but learns nothing from;
            [data/no-conversations], [data/no-preferences], [data/rows-of-another-task] when the recipe names a task
            and the rows are something else.
    """
    found = other_rows(recipe, folder)
    if found is None:
        return recipe, None
    wanted = str(recipe.task)
    named = _ALIASES.get(wanted, (wanted,)) if recipe.task not in (None, TRAINED) else (found.task,)
    trained = next((task for task in named if task in TRAINED_ON and _is_for(found, task)), None)
    trained = trained or next((task for task in TRAINED_ON if _is_for(found, task)), None)
    if trained == Tabular.name:
        return _from_random_weights(recipe.model_copy(update={"task": trained})), found
    if trained is not None:
        return _with_loss(recipe.model_copy(update={"task": trained}), found), found
    name = recipe.data.train_files[0]
    raise DataProblemError(
        "data/not-trained-yet",
        f"holds rows for the task {found.task}; this version of burnish checks such rows and does not train on them "
        "yet",
        where=name,
        details=[explain(found)],
        hint=f"look at them: `burnish check {name}`; rows of text and label after all: "
        "`data: {columns: {text: COLUMN, label: COLUMN}}`",
    )


def _is_for(rows: RowFormat, task: str) -> bool:
    return bool({rows.task, rows.name} & set(TRAINED_ON[task]))


def _found(recipe: Recipe, folder: Path, tasks: tuple[str, ...] | None = None) -> RowFormat | None:
    shape = _first_file(recipe, folder)
    found = detect_format(shape.columns, shape.sample, tasks=tasks, called=recipe.data.columns)
    if found is None or found.task != Tabular.name or recipe.table.predict is None:
        return found
    return replace(found, canonical=table_row if recipe.table.predict == "class" else table_row_with_number)


def _first_file(recipe: Recipe, folder: Path) -> SourceShape:
    first = find_files(recipe.data.train_files[:1], folder)[0]
    return inspect_once(first.path, recipe.data, name=first.name)


def _for_task(recipe: Recipe, folder: Path) -> RowFormat:
    """The format of rows for the task that the recipe names, which must be one it learns from."""
    assert recipe.task is not None
    tasks = _ALIASES.get(recipe.task, (recipe.task,))
    fitting = _found(recipe, folder, tuple(kind for task in tasks for kind in TRAINED_ON[task]))
    if fitting is not None:
        return fitting
    found = _found(recipe, folder)
    task = TASKS[tasks[0]]
    what = f"rows of the format {found.name}" if found else "rows of no known format"
    raise DataProblemError(
        _CODES.get(recipe.task, "data/rows-of-another-task"),
        f"holds {what}; {recipe.task} learns from {task.learns_from}",
        where=recipe.data.train_files[0],
        details=[explain(found)] if found else [],
        hint=f"write one row per {task.row_example}",
    )


_CODES = {"chat": "data/no-conversations", "preference": "data/no-preferences"}


def _from_random_weights(recipe: Recipe) -> Recipe:
    """The recipe of a table with what its model starts from.

    Raises:
        RecipeError: [recipe/invalid] for another base than the default one.
    """
    if recipe.model.base not in (RANDOM_ROWS, ModelOptions().base):
        raise RecipeError(
            "recipe/invalid",
            f'"{excerpt(recipe.model.base)}" is a base of texts; a model of a table starts from random weights',
            where="model.base",
            hint="leave it out",
        )
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"base": RANDOM_ROWS})})


def _with_loss(recipe: Recipe, rows: RowFormat) -> Recipe:
    """The recipe with the loss for single answers, when that is what the rows are and it names no other."""
    loss = recipe.preference.loss
    if rows.name != "unpaired-preference" or loss == "kto":
        return recipe
    if "loss" in recipe.preference.model_fields_set:
        raise RecipeError(
            "recipe/invalid",
            f"{loss} compares two answers; these rows hold single ones that are called good or bad",
            where="preference.loss",
            hint="write `preference: {loss: kto}`",
        )
    return recipe.model_copy(update={"preference": recipe.preference.model_copy(update={"loss": "kto"})})
