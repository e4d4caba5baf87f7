"""`burnish augment`: paraphrases of the training rows of a recipe, as a file to train on beside the others."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from burnish.data.balance import by_class
from burnish.data.clean import LABEL, PROVENANCE
from burnish.data.paraphrase import Endpoint, paraphrase
from burnish.data.prepare import prepare
from burnish.errors import DataReadError, UsageError
from burnish.lifecycle.train import recipe_of, task_class
from burnish.settings import settings
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
    endpoint = Endpoint(url, model, os.environ.get(key_variable) or None)
    endpoint.check()
    if settings().offline:
        raise DataReadError(
            "data/offline",
            "lies in the network, which the settings forbid",
            where=url,
            hint="unset BURNISH_OFFLINE; no row has been sent",
        )
    recipe, folder = recipe_of(source, test=None, overrides=overrides, seed=None)
    options = recipe.data.model_copy(update={"balance": "none", "noisy_copies": 0})
    progress.stage("reading and splitting the data")
    data = prepare(options, task_class(recipe).columns, base_folder=folder, seed=recipe.training.seed)
    if not {"text", LABEL} <= set(data.columns):
        raise UsageError("data/no-text", "only rows with a text and a label are paraphrased", where=str(source))
    human = [e for e in data.found[Split.TRAIN] if e.provenance is not Provenance.SYNTHETIC]
    turns = chain.from_iterable(zip_longest(*by_class(human, recipe.training.seed).values()))
    chosen = [example for example in turns if example is not None][:rows]
    judged_on = [*data.found[Split.VALIDATION], *data.found[Split.TEST]]
    progress.stage(f"asking {model} for {copies} versions of {len(chosen):,} rows")
    found = paraphrase(
        chosen,
        judged_on,
        endpoint.ask,
        copies=copies,
        options=options,
        advance=lambda done, total: progress.advance(done, total, {}),
    )
    if found.stopped and not found.rows:
        raise DataReadError(
            "data/endpoint-failed",
            f"the endpoint does not answer: {found.stopped}",
            where=url,
            hint=f"check address, model and the key in {key_variable}",
        )
    if found.stopped:
        progress.warn(f"the endpoint was given up on the way: {found.stopped}")
    write_text(output, "".join(f"{_line(example, data.columns)}\n" for example in found.rows))
    return {
        "output": str(output),
        "asked": len(chosen),
        "written": len(found.rows),
        "refused": dict(sorted(found.refused.items())),
        "stopped": found.stopped,
    }


def _line(example: Example, columns: Mapping[str, str]) -> str:
    """A row as the user's own file has it, with its origin."""
    own = {column: example.row[canonical] for canonical, column in columns.items()}
    return json.dumps({**example.extra, **own, PROVENANCE: example.provenance.value}, ensure_ascii=False)
