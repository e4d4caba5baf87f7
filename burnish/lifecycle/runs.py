"""Using a run that exists: load it, predict with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.data.columns import check_columns, infer_columns
from burnish.data.deduplicate import LEARNED
from burnish.data.formats import detect_format
from burnish.data.images import image_path, is_image_name
from burnish.data.options import DataOptions
from burnish.data.records import RefusedRowError
from burnish.data.source import inspect_source, read_source
from burnish.errors import DataProblemError, UsageError
from burnish.evaluation.wording import count
from burnish.lifecycle.own import Own
from burnish.lifecycle.run import Run
from burnish.recipe.read import read_recipe
from burnish.registry.runs import find_run
from burnish.settings import settings
from burnish.task.build import WRITING
from burnish.task.image_classification import ImageClassification
from burnish.task.tabular import Tabular
from burnish.types import Example, Problem, Progress, Row

if TYPE_CHECKING:
    from burnish.serving.package import HeadBuilder
    from burnish.task.text_classification import TextClassification

UNSURE = "unsure"  # the label of a row that the model is not sure enough of
ANSWERS = LEARNED | {"target"}  # columns that hold what a model is asked for


def load(run: str | Path, *, task: type[TextClassification] | None = None, head: HeadBuilder | None = None) -> Run:
    """A run by id, unique beginning of an id, or folder; `load(run).predict(texts)` uses its model.

    Args:
        task, head: your own, when the model was trained with them.

    Raises:
        RunError: [run/not-found], [run/ambiguous].
    """
    runs = settings().runs
    return Run(find_run(str(run), runs), runs, Own(task=task, head=head))


def predict_texts(run: str | Path, texts: Sequence[str | Row], *, progress: Progress) -> list[Row]:
    """Predictions of a run's model for texts, in order."""
    loaded = load(run)
    progress.stage(f"predicting {count(len(texts), 'inputs')} with {loaded.id}")
    return loaded.predict(texts)


def explain_texts(run: str | Path, texts: Sequence[str | Row], *, progress: Progress) -> list[dict[str, Any]]:
    """What each word adds to the probability of the label of each text, in order."""
    loaded = load(run)
    progress.stage(f"explaining {count(len(texts), 'inputs')}")
    return loaded.explain(texts)


def with_unsure(predictions: Sequence[Row], min_confidence: float) -> list[Row]:
    """The predictions with `unsure` as label where the probability is lower; the label is kept as `guess`.

    Args:
        min_confidence: 0..1.

    Raises:
        UsageError: [predict/no-confidence] for predictions without the probability of a label.
    """
    if any("label" not in row or "probability" not in row for row in predictions):
        raise UsageError(
            "predict/no-confidence",
            "this run's predictions have no label with a probability",
            where="--min-confidence",
            hint="leave it out",
        )
    return [
        row if row["probability"] >= min_confidence else {**row, "label": UNSURE, "guess": row["label"]}
        for row in predictions
    ]


def texts_of(run: str | Path, data: Path) -> list[str | Row]:
    """The texts, or rows, of a file that is read as in training; a text column may have another name than there.

    Of conversations: prompts; of rows with source and target: sources.

    Raises:
        DataProblemError: [predict/bad-row] naming the first row without a text.
    """
    loaded = load(run)
    loaded.require_model()
    options = read_recipe(loaded.folder.recipe).data
    if loaded.folder.manifest().get("task") in WRITING:
        plain = options.model_copy(update={"columns": {}})
        shape = inspect_source(data, plain)
        found = detect_format(shape.columns, shape.sample)
        if found is not None and found.task in WRITING:
            return [_asked(item) for item in found.examples(read_source(data, shape, plain))]
    if loaded.folder.manifest().get("task") == ImageClassification.name:
        return images_of(data, options)
    if loaded.folder.manifest().get("task") == Tabular.name:
        return _cells_of(data, options)
    rows = _rows_of(loaded, data, options)
    if rows is not None:
        return rows
    learned = options.columns.get("text")
    options = options.model_copy(update={"columns": {"text": learned} if learned else {}})
    shape = inspect_source(data, options)
    if learned not in shape.columns:
        options = options.model_copy(update={"columns": {}})
    column = infer_columns(shape, options, {"text": str})["text"]
    texts: list[str | Row] = []
    for record in read_source(data, shape, options):
        if isinstance(record, Problem):
            raise DataProblemError("predict/bad-row", record.reason, where=str(record.origin))
        text = record.values.get(column)
        if not isinstance(text, str) or not text.strip():
            raise DataProblemError("predict/bad-row", f'no text in column "{column}"', where=str(record.origin))
        texts.append(text)
    return texts


def images_of(data: Path, options: DataOptions) -> list[str | Row]:
    """The paths of images: those in a folder, at any depth, those that a list names, or the one that the path is.

    Raises:
        DataProblemError: [predict/bad-row] for a path that leaves the list's folder, or a folder without files.
    """
    if data.is_dir():
        found = sorted(str(path) for path in data.rglob("[!.]*") if path.is_file())
        if not found:
            raise DataProblemError("predict/bad-row", "holds no files", where=str(data))
        return [{"image": path} for path in found]
    if is_image_name(data.name):
        return [{"image": str(data)}]
    column = options.columns["image"]
    options = options.model_copy(update={"columns": {"image": column}})
    shape = inspect_source(data, options)
    check_columns(shape, options.columns)
    paths: list[str | Row] = []
    for record in read_source(data, shape, options):
        if isinstance(record, Problem):
            raise DataProblemError("predict/bad-row", record.reason, where=str(record.origin))
        try:
            paths.append({"image": str(image_path(data.parent, str(record.values.get(column))))})
        except RefusedRowError as refused:
            raise DataProblemError("predict/bad-row", refused.reason, where=str(record.origin)) from None
    return paths


def _rows_of(loaded: Run, data: Path, options: DataOptions) -> list[str | Row] | None:
    """The rows of a file with what the task asks of them, by the columns it was trained on; None without these."""
    asked = {key: column for key, column in options.columns.items() if key not in ANSWERS}
    if set(asked) <= {"text"}:
        return None
    options = options.model_copy(update={"columns": {}})
    shape = inspect_source(data, options)
    if not set(asked.values()) <= set(shape.columns):
        return None
    rows: list[str | Row] = []
    for record in read_source(data, shape, options):
        if isinstance(record, Problem):
            raise DataProblemError("predict/bad-row", record.reason, where=str(record.origin))
        rows.append({key: record.values[column] for key, column in asked.items()})
    return rows


def _cells_of(data: Path, options: DataOptions) -> list[str | Row]:
    """The rows of a table, each with all its columns; the target is not looked at."""
    options = options.model_copy(update={"columns": {}})
    rows: list[str | Row] = []
    for record in read_source(data, inspect_source(data, options), options):
        if isinstance(record, Problem):
            raise DataProblemError("predict/bad-row", record.reason, where=str(record.origin))
        rows.append(record.values)
    return rows


def _asked(item: Example | Problem) -> Row:
    """A conversation without the assistant's last turn, or a source without its target."""
    if isinstance(item, Problem):
        raise DataProblemError("predict/bad-row", item.reason, where=str(item.origin))
    if "source" in item.row:
        return {"source": item.row["source"]}
    if "prompt" in item.row:
        return {"messages": item.row["prompt"], "tools": item.row.get("tools")}
    return {**item.row, "messages": item.row["messages"][:-1]}
