"""What a recipe's rows are for, when they are not rows of a task that is trained."""

from __future__ import annotations

from pathlib import Path

from burnish.data.files import find_files
from burnish.data.formats import RowFormat, detect_format
from burnish.data.source import inspect_source
from burnish.errors import DataProblemError
from burnish.recipe.schema import Recipe

TRAINED = "text-classification"
CONVERSATIONS = ("chat", "language-modelling")  # tasks of row formats that `chat` learns from
LEARNS = {
    "chat": "to answer as the assistant does",
    "preference": "to prefer the better of two answers",
    "reinforcement": "to write answers that are graded well",
    "token-classification": "to tag each token",
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


def other_rows(recipe: Recipe, folder: Path) -> RowFormat | None:
    """The format of the first training file; None when it is text with a label, or the recipe says what it is.

    Raises:
        DataReadError: the file cannot be read.
    """
    if recipe.task == "chat":
        return _conversations(recipe, folder)
    if recipe.task is not None or recipe.data.columns:
        return None
    first = find_files(recipe.data.train_files[:1], folder)[0]
    shape = inspect_source(first.path, recipe.data, name=first.name)
    found = detect_format(shape.columns, shape.sample)
    return None if found is None or found.task == TRAINED else found


def explain(rows: RowFormat) -> str:
    """Two sentences: what was seen, and what it means."""
    article = "an" if rows.task[0] in "aeiou" else "a"
    learns = f"From such rows {article} {rows.task} model learns {LEARNS[rows.task]}."
    return f"{rows.reason[0].upper()}{rows.reason[1:]}. {learns}"


def settled_task(recipe: Recipe, folder: Path) -> tuple[Recipe, RowFormat | None]:
    """The recipe with its task, and the format of its rows where it is not plain columns that are read.

    Raises:
        DataProblemError: [data/not-trained-yet] for rows that this version reads and checks, but learns nothing from;
            [data/no-conversations] when the recipe says chat and the rows are something else.
    """
    if recipe.task == "chat":
        return recipe, _conversations(recipe, folder)
    rows = other_rows(recipe, folder)
    if rows is None:
        return recipe, None
    if rows.task in CONVERSATIONS:
        return recipe.model_copy(update={"task": "chat"}), rows
    name = recipe.data.train_files[0]
    raise DataProblemError(
        "data/not-trained-yet",
        f"holds rows for the task {rows.task}; this version of burnish checks such rows and does not train on them yet",
        where=name,
        details=[explain(rows)],
        hint=f"look at them: `burnish check {name}`; rows of text and label after all: "
        "`data: {columns: {text: COLUMN, label: COLUMN}}`",
    )


def _conversations(recipe: Recipe, folder: Path) -> RowFormat:
    name = recipe.data.train_files[0]
    first = find_files([name], folder)[0]
    shape = inspect_source(first.path, recipe.data, name=first.name)
    found = detect_format(shape.columns, shape.sample)
    if found is None or found.task not in CONVERSATIONS:
        what = f"rows of the format {found.name}" if found else "rows of no known format"
        raise DataProblemError(
            "data/no-conversations",
            f"holds {what}; chat learns from messages, prompt and completion, or texts",
            where=name,
            details=[explain(found)] if found else [],
            hint='write one row per conversation: {"messages": [{"role": "user", "content": ...}, ...]}',
        )
    return found
