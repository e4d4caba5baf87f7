"""The end of a job that was trained: its model and checkpoints are stored and served, its figures become a file."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete

from burnish.lifecycle.attempt import figures_of
from burnish.lifecycle.versions import store_model, usable_name
from burnish.registry import queue
from burnish.registry.files import RESULTS, add_row, store_bytes
from burnish.registry.queue import holding, lay_down, tell
from burnish.registry.served import add_served
from burnish.registry.service_tables import JOB_CHECKPOINTS
from burnish.storage.durable import remove_folder
from burnish.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from burnish.lifecycle.work_job import Working

FIRST_COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")  # as scripts expect
NEXT_COLUMNS = ("full_valid_loss", "full_valid_mean_token_accuracy", "train_mean_token_accuracy", "learning_rate")
RESULT_NAME = "step_metrics.csv"


def end_job(working: Working) -> str:
    """Stores what a finished run left, and ends the job in one transaction: it has succeeded, or nothing happened.

    Raises:
        LeaseLostError: [queue/lease-lost].
        TrainerDiedError: [worker/trainer-died].
    """
    run, claim, registry = working.attempt, working.claim, working.service.registry
    manifest = run.manifest()
    task = str(manifest["task"])
    version = store_model(registry, run, name=usable_name(working.name)).id
    models = {working.name: version}
    lost: list[int] = []
    for step in sorted(working.published):
        stored = version if step == step_of_model(manifest) else _packaged(working, step)
        if stored is None:
            lost.append(step)
        else:
            models[f"{working.name}:ckpt-step-{step}"] = stored
    working.beat.require()
    result = store_bytes(registry, claim.row["project"], result_table(run), filename=RESULT_NAME, purpose=RESULTS)
    chosen = working.chosen | {"verdict": run.content(run.evaluation)["verdict"], "version": version}
    with holding(working.engine, claim) as connection:
        add_row(connection, result)
        for name, stored in models.items():
            add_served(connection, name, claim.row["project"], stored, job=claim.job, task=task)
        gone = JOB_CHECKPOINTS.c.job == claim.job, JOB_CHECKPOINTS.c.step.in_(lost)
        connection.execute(delete(JOB_CHECKPOINTS).where(*gone))
        ended = {"status": queue.SUCCEEDED, "finished": time.time(), "wanted": None, "run": None}
        facts = {"model": working.name, "result_file": result.id, "chosen": json.dumps(chosen)}
        tokens = (manifest.get("training") or {}).get("tokens", 0)
        lay_down(connection, claim, **ended, **facts, trained_tokens=tokens)
        tell(connection, claim.job, "verdict", _verdict(chosen["verdict"]), data=chosen["verdict"])
        tell(connection, claim.job, "model", f"New fine-tuned model created: {working.name}")
        tell(connection, claim.job, "end", "The job has successfully completed")
    remove_folder(working.folder)  # all that is needed of it is in the registry
    return "succeeded"


def step_of_model(manifest: Mapping[str, Any]) -> int | None:
    """The step whose weights the model has as they are; None where they were chosen otherwise."""
    training = manifest.get("training") or {}
    way = str((training.get("checkpoint_choice") or {}).get("chosen"))
    found = {"best": training.get("best_step"), "last": training.get("steps")}.get(way)
    return None if found is None else int(found)


def result_table(run: RunFolder) -> bytes:
    """The figures of all steps as CSV; an empty cell was not measured."""
    steps: dict[int, dict[str, Any]] = {}
    for line in run.rows(run.metrics):
        figures = figures_of(line)
        steps[figures["step"]] = steps.get(figures["step"], {}) | figures
    known = dict.fromkeys([*FIRST_COLUMNS, *NEXT_COLUMNS])
    columns = list(known | dict.fromkeys(name for figures in steps.values() for name in figures))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(steps[step] for step in sorted(steps))
    return text.getvalue().encode()


def _packaged(working: Working, step: int) -> str | None:
    """The version of a model with the weights of a checkpoint; None when it cannot be made."""
    target = working.folder / f"{working.attempt.path.name}-step-{step}"
    folder = working.folder / working.published[step]
    order = {"folder": str(folder), "step": step, "judged": str(working.attempt.path), "target": str(target)}
    working.trainer.order("package", **order)
    answer = working.answer()
    if answer is None or answer["outcome"] != "done":
        working.warn(f"The checkpoint of step {step} cannot be served")
        return None
    name = usable_name(f"{working.name}-ckpt-step-{step}")
    return store_model(working.service.registry, RunFolder(Path(target)), name=name).id


def _verdict(verdict: Mapping[str, Any]) -> str:
    """What the model is worth, in a sentence."""
    against = (
        f" than {verdict['against']}" if verdict.get("against") and verdict["answer"] in ("better", "worse") else ""
    )
    return f"Verdict on the test rows: {verdict['answer']}{against}"
