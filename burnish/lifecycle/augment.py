"""`burnish augment`: rows that an endpoint writes from yours, as a new file to train on beside the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from burnish.data.balance import by_class
from burnish.data.clean import LABEL, PROVENANCE
from burnish.data.endpoint import Endpoint
from burnish.data.files import find_files
from burnish.data.paraphrase import paraphrase
from burnish.data.prepare import prepare
from burnish.data.questions import write_questions
from burnish.data.row_format import RowFormat
from burnish.data.source import inspect_source, read_source
from burnish.errors import DataReadError, UsageError
from burnish.lifecycle.endpoints import named_endpoint
from burnish.lifecycle.recipe_of import recipe_of
from burnish.lifecycle.rows import other_rows
from burnish.lifecycle.train import task_class
from burnish.recipe.schema import Recipe
from burnish.storage.durable import write_text
from burnish.types import Example, Progress, Provenance, Split


def augment(
    source: str | Path,
    *,
    url: str,
    model: str,
    key_variable: str,
    copies: int,
    rows: int,
    output: Path,
    overrides: Sequence[str] = (),
    progress: Progress,
) -> dict[str, Any]:
    """Asks an endpoint for paraphrases of training rows and writes those that pass the filters to a new file.

    Rows of small classes are asked for first, one of each class in turn. Validation and test rows are never sent.
    Of documents (plain text, Markdown, HTML) it asks for questions and answers instead, as conversations.

    Args:
        key_variable: name of the environment variable that holds the key; no key is sent when it is not set.
        copies: versions of each row, at least 1.
        rows: training rows to send at most.

    Returns:
        {"output", "asked", "written", "refused": reason -> count, "stopped"}.

    Raises:
        UsageError: [data/file-exists], [data/bad-endpoint], [data/no-text].
        DataReadError: [data/offline] when the settings forbid the network, [data/endpoint-failed] when nothing usable
            came back.
    """
    if output.exists():
        raise UsageError("data/file-exists", "this file exists already", where=str(output), hint="name a new one")
    endpoint = named_endpoint(url, model, option="--endpoint", key_variable=key_variable)
    recipe, folder = recipe_of(source, test=None, overrides=overrides, seed=None)
    row_format = other_rows(recipe, folder)
    if row_format is not None and row_format.task == "language-modelling":
        made = _questions(recipe, folder, row_format, endpoint, copies, rows, progress)
    else:
        made = _paraphrases(recipe, folder, endpoint, copies, rows, progress)
    if made.stopped and not made.lines:
        raise DataReadError(
            "data/endpoint-failed",
            f"the endpoint does not answer: {made.stopped}",
            where=url,
            hint=f"check address, model and the key in {key_variable}",
        )
    if made.stopped:
        progress.warn(f"the endpoint was given up on the way: {made.stopped}")
    write_text(output, "".join(f"{line}\n" for line in made.lines))
    return {
        "output": str(output),
        "asked": made.asked,
        "written": len(made.lines),
        "refused": dict(sorted(made.refused.items())),
        "stopped": made.stopped,
    }


@dataclass(frozen=True, slots=True)
class _Made:
    """Lines of the new file, rows that were sent, and what was refused."""

    lines: list[str]
    asked: int
    refused: Mapping[str, int]
    stopped: str | None


def _paraphrases(recipe: Recipe, folder: Path, endpoint: Endpoint, copies: int, rows: int, progress: Progress) -> _Made:
    """Other wordings of training rows."""
    options = recipe.data.model_copy(update={"balance": "none", "noisy_copies": 0})
    progress.stage("reading and splitting the data")
    data = prepare(options, task_class(recipe).columns, base_folder=folder, seed=recipe.training.seed)
    if not {"text", LABEL} <= set(data.columns):
        name = recipe.data.train_files[0]
        raise UsageError("data/no-text", "only rows with a text and a label are paraphrased", where=name)
    human = [e for e in data.found[Split.TRAIN] if e.provenance is not Provenance.SYNTHETIC]
    turns = chain.from_iterable(zip_longest(*by_class(human, recipe.training.seed).values()))
    chosen = [example for example in turns if example is not None][:rows]
    judged_on = [*data.found[Split.VALIDATION], *data.found[Split.TEST]]
    progress.stage(f"asking {endpoint.model} for {copies} versions of {len(chosen):,} rows")
    found = paraphrase(
        chosen,
        judged_on,
        endpoint.ask,
        copies=copies,
        options=options,
        advance=lambda done, total: progress.advance(done, total, {}),
    )
    lines = [_line(example, data.columns) for example in found.rows]
    return _Made(lines, len(chosen), found.refused, found.stopped)


def _questions(
    recipe: Recipe,
    folder: Path,
    row_format: RowFormat,
    endpoint: Endpoint,
    copies: int,
    rows: int,
    progress: Progress,
) -> _Made:
    """Conversations about documents."""
    progress.stage("reading the documents")
    sections: list[Example] = []
    for file in find_files(recipe.data.train_files, folder):
        shape = inspect_source(file.path, recipe.data, name=file.name)
        found_rows = row_format.examples(read_source(file.path, shape, recipe.data))
        sections += [item for item in found_rows if isinstance(item, Example)]
    chosen = sections[:: max(1, len(sections) // rows)][:rows]
    progress.stage(f"asking {endpoint.model} for {copies} questions about {len(chosen):,} sections")
    found = write_questions(
        chosen, endpoint.ask, copies=copies, advance=lambda done, total: progress.advance(done, total, {})
    )
    lines = [
        json.dumps({**e.row, "document": str(e.origin), PROVENANCE: e.provenance.value}, ensure_ascii=False)
        for e in found.rows
    ]
    return _Made(lines, len(chosen), found.refused, found.stopped)


def _line(example: Example, columns: Mapping[str, str]) -> str:
    """A row as the user's own file has it, with its origin."""
    own = {column: example.row[canonical] for canonical, column in columns.items()}
    return json.dumps({**example.extra, **own, PROVENANCE: example.provenance.value}, ensure_ascii=False)
