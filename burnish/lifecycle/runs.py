"""Using a run that exists: load it, predict with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.data.columns import infer_columns
from burnish.data.formats import detect_format
from burnish.data.source import inspect_source, read_source
from burnish.errors import DataProblemError
from burnish.lifecycle.own import Own
from burnish.lifecycle.run import Run
from burnish.recipe.read import read_recipe
from burnish.registry.runs import find_run
from burnish.settings import settings
from burnish.task.build import WRITING
from burnish.task.seq2seq import Seq2Seq
from burnish.types import Example, Problem, Progress, Row

if TYPE_CHECKING:
    from burnish.serving.package import HeadBuilder
    from burnish.task.text_classification import TextClassification


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
    progress.stage(f"predicting {len(texts):,} texts with {loaded.id}")
    return loaded.predict(texts)


def texts_of(run: str | Path, data: Path) -> list[str | Row]:
    """The text column of a file that is read as in training; its name may be another one. Of conversations: prompts.

    Of rows with source and target: sources.

    Raises:
        DataProblemError: [predict/bad-row] naming the first row without a text.
    """
    loaded = load(run)
    loaded.require_model()
    options = read_recipe(loaded.folder.recipe).data
    task = loaded.folder.manifest().get("task")
    if task in WRITING:
        options = options.model_copy(update={"columns": {}})
        shape = inspect_source(data, options)
        found = detect_format(shape.columns, shape.sample)
        if found is not None and found.task in WRITING:
            return [_asked(item) for item in found.examples(read_source(data, shape, options))]
    name = "source" if task == Seq2Seq.name else "text"
    learned = read_recipe(loaded.folder.recipe).data.columns.get(name)
    options = options.model_copy(update={"columns": {name: learned} if learned else {}})
    shape = inspect_source(data, options)
    if learned not in shape.columns:
        options = options.model_copy(update={"columns": {}})
    column = infer_columns(shape, options, {name: str})[name]
    texts: list[str | Row] = []
    for record in read_source(data, shape, options):
        if isinstance(record, Problem):
            raise DataProblemError("predict/bad-row", record.reason, where=str(record.origin))
        text = record.values.get(column)
        if not isinstance(text, str) or not text.strip():
            raise DataProblemError("predict/bad-row", f'no text in column "{column}"', where=str(record.origin))
        texts.append(text)
    return texts


def _asked(item: Example | Problem) -> Row:
    """A conversation without the assistant's last turn, or a source without its target."""
    if isinstance(item, Problem):
        raise DataProblemError("predict/bad-row", item.reason, where=str(item.origin))
    if "source" in item.row:
        return {"source": item.row["source"]}
    if "prompt" in item.row:
        return {"messages": item.row["prompt"], "tools": item.row.get("tools")}
    return {**item.row, "messages": item.row["messages"][:-1]}
