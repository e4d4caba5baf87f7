"""What the trainer does when it is told to: look at the files of a job, train, make models of its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from burnish.lifecycle.at_step import package_step
from burnish.lifecycle.job_recipe import JobRequest, recipe_tree
from burnish.lifecycle.job_rows import CheckedFile, check_file
from burnish.lifecycle.job_settle import settle
from burnish.lifecycle.train import resume_run, train
from burnish.settings import settings
from burnish.storage.run_folder import RunFolder
from burnish.types import Progress, Silent

Order = Mapping[str, Any]


def prepare(order: Order, progress: Progress) -> dict[str, Any]:
    """Reads the files of a job to their ends and settles its recipe.

    Args:
        order: "asked", the request; "files", param -> path; "base"; "seed"; "filename"; "minimum_rows".

    Returns:
        {"tree", "numbers"}: the recipe without base and files, and what "auto" became; or {"refused": {"code",
        "message", "param"}} when nothing can be learned from the files.
    """
    asked = JobRequest(**order["asked"])
    tree = recipe_tree(asked, rows=None, seed=order["seed"], filename=order["filename"])
    checked: dict[str, CheckedFile] = {}
    for param, place in order["files"].items():
        seen = check_file(Path(place), tree)
        minimum = order["minimum_rows"] if param == "training_file" else 1
        wrong = seen.message(param, minimum=minimum, allowed=tree["data"]["max_bad_ratio"])
        if wrong is not None:
            return {"refused": {"code": f"invalid_{param}", "message": wrong, "param": param}}
        checked[param] = seen
    found = checked["training_file"]
    rows = found.rows - len(found.faults)
    tree = recipe_tree(asked, rows=rows, seed=order["seed"], filename=order["filename"], task=found.task)
    numbers = settle(tree, asked, order["base"], order["files"])
    return {"tree": tree, "numbers": {**numbers, "task": tree["task"], "rows": rows}}


def train_job(order: Order, progress: Progress) -> dict[str, Any]:
    """Trains a recipe, or goes on with a run, in "folder"; gives the run's status."""
    folder = RunFolder(Path(order["folder"]))
    if folder.manifest():  # of an earlier attempt, whose recipe lay elsewhere
        run = resume_run(folder, progress=progress, record=False)
    else:
        run = train(order["recipe"], output=folder.path, resume=True, progress=progress, record=False)
    return {"status": run.status}


def package(order: Order, progress: Progress) -> dict[str, Any]:
    """Makes a run of a checkpoint: of "step" in "folder", into "target"; the verdict of the run at "judged" is its own.

    What cannot be made a model of its own is left out: the job has its model.
    """
    source, judged = RunFolder(Path(order["folder"])), RunFolder(Path(order["judged"]))
    evaluation = judged.content(judged.evaluation)
    target = RunFolder(Path(order["target"]))
    package_step(source, order["step"], target, evaluation, runs=settings().runs, progress=Silent())
    target.update_manifest(status="finished", task=judged.manifest().get("task"))
    return {}


ORDERS: Mapping[str, Callable[[Order, Progress], dict[str, Any]]] = {
    "prepare": prepare,
    "train": train_job,
    "package": package,
}
