"""A job of the hosted fine-tuning service, as its API shows it, as a recipe to train here with the same files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import ServiceError, UsageError, excerpt
from burnish.lifecycle.job_recipe import JobRequest, check_request, recipe_tree, recipe_with_files
from burnish.lifecycle.job_rows import check_file
from burnish.lifecycle.job_settle import settle
from burnish.storage.durable import write_text

MOST_BYTES = 2**20  # of a job object
OURS = ("n_epochs", "batch_size", "learning_rate_multiplier", "beta")


@dataclass(frozen=True, slots=True)
class ImportedJob:
    """A job object, read.

    Attributes:
        asked: the request that would make the same job here.
        notes: what could not be taken over, a sentence each.
    """

    asked: JobRequest
    model: str
    notes: tuple[str, ...]


def read_job(path: Path) -> ImportedJob:
    """A job object from a file: what `client.fine_tuning.jobs.retrieve(...)` gives, as JSON.

    Raises:
        UsageError: [import/no-job] for anything else.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        job = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(job, dict) or job.get("object", "fine_tuning.job") != "fine_tuning.job":
            raise ValueError('it is no object "fine_tuning.job"')
        method = dict(job.get("method") or {"type": "supervised"})
        kind = str(method["type"])
        given = (method.get(kind) or {}).get("hyperparameters") or job.get("hyperparameters") or {}
        values = {str(name): value for name, value in given.items() if value is not None}
        model, training_file = str(job["model"]), str(job.get("training_file", "training file"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            "import/no-job",
            f"this is no fine-tuning job: {excerpt(str(error), 120)}",
            where=str(path),
            hint="save it with: job.model_dump_json(), of client.fine_tuning.jobs.retrieve(ID)",
        ) from error
    notes = [f"{name} is not known here and was left out" for name in values if name not in OURS]
    if job.get("integrations"):
        notes.append("integrations were left out; name a program under `tracking` in the recipe")
    seed = job.get("seed")
    asked = JobRequest(
        model=model,
        training_file=training_file,
        method=kind,
        hyperparameters={name: value for name, value in values.items() if name in OURS},
        seed=seed if isinstance(seed, int) else None,
        suffix=_suffix(job),
    )
    return ImportedJob(asked, model, tuple(notes))


def recipe_of_job(job: ImportedJob, data: Path, base: str, *, validation: Path | None = None) -> dict[str, Any]:
    """The recipe that trains like a job, on files of this machine.

    Args:
        base: what to start from here, as after `model.base` of a recipe.

    Raises:
        UsageError: [import/refused] naming the field or the lines that no job can be made of.
    """
    try:
        check_request(job.asked)
        tree = recipe_tree(job.asked, rows=None, seed=0, filename=data.name)
        files = {"training_file": data} | ({"validation_file": validation} if validation else {})
        for param, path in files.items():
            seen = check_file(path, tree)
            wrong = seen.message(param, minimum=1, allowed=0.0)
            if wrong is not None:
                raise UsageError("import/refused", wrong, where=str(path), hint=f"look at it: burnish check {path}")
            if param == "training_file":
                found = seen
        asked = job.asked
        seed = 13 if asked.seed is None else asked.seed
        tree = recipe_tree(asked, rows=found.rows, seed=seed, filename=data.name, task=found.task)
        settle(tree, asked, base, {param: str(path.resolve()) for param, path in files.items()})
    except ServiceError as error:
        raise UsageError("import/refused", error.message, where=error.param, hint="mend the job object") from error
    tree["data"].pop("columns", None)
    return recipe_with_files(tree, base, {param: str(path.resolve()) for param, path in files.items()})


def write_job_recipe(tree: Mapping[str, Any], target: Path) -> None:
    """Writes the recipe of an imported job, section by section."""
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in tree.items()]
    write_text(target, "\n".join(lines) + "\n")


def _suffix(job: Mapping[str, Any]) -> str | None:
    """The suffix in the name of the model that the job made, if it says one."""
    suffix = job.get("user_provided_suffix") or job.get("suffix")
    return str(suffix) if suffix else None
