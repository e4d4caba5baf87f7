"""Pause or cancel a run from another process, and branch off a child run with other settings."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from burnish.errors import RecipeError, RunError
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import resume_run
from burnish.recipe.read import read_recipe, recipe_text
from burnish.storage.durable import make_folder, write_text
from burnish.storage.lock import exclusive
from burnish.storage.run_folder import RunFolder
from burnish.storage.version_store import VERSION_ID
from burnish.types import Progress, Silent

LOOK_EVERY_SECONDS = 0.2
CHANGEABLE = ("training", "checkpoint", "evaluation")
FIXED = {
    "training.seed": "it decides which rows are the test rows",
    "training.global_batch_size": "the place in the data is counted in batches",
}


def stop_run(folder: RunFolder, what: Literal["pause", "cancel"], *, progress: Progress | None = None) -> str:
    """Asks the process that works on a run to stop after its current step, and waits until it has.

    Returns:
        The run's status afterwards: "paused" or "cancelled", or how it ended when it was faster.

    Raises:
        RunError: [run/not-running] when nobody works on a run that should pause; [run/finished] when there is
            nothing left to cancel; [run/died] when the process ended without an answer.
    """
    progress = progress or Silent()
    if not _is_running(folder):
        return _stop_idle(folder, what)
    folder.ask(what)
    progress.stage(f"asked the run to {what}; it stops after its current step")
    while _is_running(folder):
        time.sleep(LOOK_EVERY_SECONDS)
    folder.clear_request()
    status = str(folder.manifest().get("status", "unknown"))
    if status in ("preparing", "running"):
        raise RunError(
            "run/died",
            "the process that worked on this run ended without an answer",
            where=str(folder.path),
            hint=f"go on from its newest checkpoint: burnish resume {folder.path}",
        )
    return status


def _stop_idle(folder: RunFolder, what: str) -> str:
    status = str(folder.manifest().get("status", "unknown"))
    if status == "finished":
        raise RunError("run/finished", f"this run is finished; there is nothing to {what}", where=str(folder.path))
    if what == "pause" and status != "paused":
        raise RunError(
            "run/not-running",
            f'no process works on this run; it is "{status}"',
            where=str(folder.path),
            hint=f"go on with: burnish resume {folder.path}",
        )
    if what == "cancel":
        folder.update_manifest(status="cancelled", error=None)
        folder.event("cancelled")
        status = "cancelled"
    return status


def _is_running(folder: RunFolder) -> bool:
    try:
        with exclusive(folder.path):
            return False
    except RunError:
        return True


def resume_changed(
    parent: RunFolder, overrides: Sequence[str], *, output: Path | None = None, progress: Progress | None = None
) -> Run:
    """A child run that goes on from the parent's newest checkpoint with other settings; the parent stays as it is.

    Args:
        overrides: "training.learning_rate=1e-5", as after --set; of the sections training, checkpoint, evaluation.
        output: the child's folder; beside the parent, with "-2", "-3"... after its name, when None.

    Raises:
        RecipeError: [recipe/fixed-by-parent] for a change that would not be the same training any more.
        RunError: [run/no-checkpoint]; [run/locked] while the parent is running; [run/exists].
    """
    from burnish.engine.checkpoint import copy_checkpoint, newest_checkpoint  # loads torch; pausing needs none

    progress = progress or Silent()
    for override in overrides:
        _refuse_fixed(override.partition("=")[0].strip())
    recipe = read_recipe(parent.recipe, overrides)
    child = RunFolder(output or _next_name(parent.path))
    if child.path.exists() and any(child.path.iterdir()):
        raise RunError(
            "run/exists", "this folder already holds something", where=str(child.path), hint="name another --output"
        )
    with contextlib.nullcontext() if VERSION_ID.fullmatch(parent.path.name) else exclusive(parent.path):
        found = newest_checkpoint(parent.checkpoints, warn=progress.warn)
        if found is None:
            raise RunError(
                "run/no-checkpoint",
                "this run has no checkpoint to go on from",
                where=str(parent.path),
                hint="start a new run with `burnish train`",
            )
        make_folder(child.path)
        with exclusive(child.path):
            best = parent.checkpoints / f"step-{found.state['stopping']['best_step']}"
            for source in {best, found.folder}:
                if source.is_dir():
                    copy_checkpoint(source, child.checkpoints, patient=source == found.folder)
            metrics = parent.metrics.read_bytes() if parent.metrics.exists() else b""
            write_text(child.metrics, metrics[: int(found.state["metrics_bytes"])].decode("utf-8"))
            write_text(child.recipe, recipe_text(recipe))
            manifest = parent.manifest()
            child.begin_manifest(
                id=child.path.resolve().name,
                status="preparing",
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                asked={"resume": str(parent.path), "set": list(overrides)},
                parents=[{"run": parent.id, "checkpoint": found.folder.name, "changed": list(overrides)}],
                parts_of_the_caller=manifest.get("parts_of_the_caller", {}),
                data={"split_fingerprint": manifest.get("data", {}).get("split_fingerprint")},
            )
            child.event("branched", parent=parent.id, step=found.step, changed=list(overrides))
    progress.note(f"run {child.id} goes on from {parent.id}, step {found.step}, with {', '.join(overrides)}")
    return resume_run(child, progress=progress)


def _refuse_fixed(field: str) -> None:
    reason = FIXED.get(field)
    if field.split(".")[0] not in CHANGEABLE:
        reason = "it would not be the same training any more"
    if reason:
        raise RecipeError(
            "recipe/fixed-by-parent",
            f"a run that goes on cannot change {field}: {reason}",
            where="--set",
            hint=f"change one of {', '.join(CHANGEABLE)}, or start a new run with `burnish train`",
        )


def _next_name(path: Path) -> Path:
    number = 2
    while (candidate := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return candidate
