"""What a recipe's rows are for, when they are not rows of a task that is trained."""

from __future__ import annotations

from pathlib import Path

from burnish.data.files import find_files
from burnish.data.formats import RowFormat, detect_format
from burnish.data.source import inspect_source
from burnish.errors import DataProblemError, RecipeError
from burnish.recipe.schema import Recipe

TRAINED = "text-classification"
WRITTEN = {  # tasks that are trained on rows of these formats, by the task each format names
    "chat": ("chat", "language-modelling"),
    "preference": ("preference",),
    "embedding": ("embedding", "text-classification"),
}
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
    if recipe.task in WRITTEN:
        return _written(recipe, folder)
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
            [data/no-conversations], [data/no-preferences] when the recipe says chat or preference and the rows are
            something else.
    """
    if recipe.task in WRITTEN:
        rows = _written(recipe, folder)
        return _with_loss(recipe, rows), rows
    found = other_rows(recipe, folder)
    if found is None:
        return recipe, None
    rows = found
    trained = next((task for task, formats in WRITTEN.items() if rows.task in formats), None)
    if trained is not None:
        return _with_loss(recipe.model_copy(update={"task": trained}), rows), rows
    name = recipe.data.train_files[0]
    raise DataProblemError(
        "data/not-trained-yet",
        f"holds rows for the task {rows.task}; this version of burnish checks such rows and does not train on them yet",
        where=name,
        details=[explain(rows)],
        hint=f"look at them: `burnish check {name}`; rows of text and label after all: "
        "`data: {columns: {text: COLUMN, label: COLUMN}}`",
    )


def _written(recipe: Recipe, folder: Path) -> RowFormat:
    """The format of rows for a task of language models, which must be one the task learns from."""
    assert recipe.task is not None
    name = recipe.data.train_files[0]
    first = find_files([name], folder)[0]
    shape = inspect_source(first.path, recipe.data, name=first.name)
    found = detect_format(shape.columns, shape.sample)
    if found is None or found.task not in WRITTEN[recipe.task]:
        what = f"rows of the format {found.name}" if found else "rows of no known format"
        code, learns, hint = _WANTED[recipe.task]
        raise DataProblemError(
            code,
            f"holds {what}; {recipe.task} learns from {learns}",
            where=name,
            details=[explain(found)] if found else [],
            hint=hint,
        )
    return found


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


_WANTED = {  # task -> code of the error, what it learns from, what to write
    "chat": (
        "data/no-conversations",
        "messages, prompt and completion, or texts",
        'write one row per conversation: {"messages": [{"role": "user", "content": ...}, ...]}',
    ),
    "preference": (
        "data/no-preferences",
        "pairs of answers, or answers called good or bad",
        'write one row per pair: {"prompt": ..., "chosen": ..., "rejected": ...}',
    ),
    "embedding": (
        "data/no-pairs",
        "texts that belong together, pairs with a score, or texts with labels",
        'write one row per pair: {"anchor": ..., "positive": ...}',
    ),
}
