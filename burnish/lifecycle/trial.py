"""A trial of a sweep: one training with some values, judged on the validation rows as it goes and given up early.

A trial is a folder named after its values. It is trained once: whoever asks for the same values again is given what
was found, and a trial that was killed goes on from its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.errors import DivergedError, OutOfMemoryError
from burnish.lifecycle.benches import open_bench
from burnish.lifecycle.decided import decided
from burnish.lifecycle.environment import describe_environment
from burnish.lifecycle.own import Own
from burnish.lifecycle.train import permitted_base
from burnish.recipe.schema import Recipe
from burnish.recipe.space import RATE_FACTOR, Value, with_values
from burnish.settings import settings
from burnish.storage.durable import make_folder, remove_published, write_json
from burnish.storage.fingerprint import canonical_sha256
from burnish.storage.lock import exclusive
from burnish.storage.run_folder import RunFolder
from burnish.types import Progress, Silent, Split

RESULT = "trial.json"
NAME_LENGTH = 12  # letters of the sha256 that a trial's folder is named after
Report = Callable[[int, float], bool]  # evaluation from 1 on, value of the metric -> whether it is hopeless


class _GivenUpError(Exception):
    """The values so far are hopeless."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What all trials of a sweep share.

    Attributes:
        tree: the recipe as plain dicts, with its task and columns.
        place: the sweep's folder.
    """

    tree: Mapping[str, Any]
    data: PreparedData
    task: Any
    place: Path
    progress: Progress

    def folder(self, values: Mapping[str, Value]) -> Path:
        return self.place / "trials" / canonical_sha256(dict(values))[:NAME_LENGTH]


def recipe_of_trial(ground: Ground, values: Mapping[str, Value]) -> Recipe:
    """The whole recipe of a trial, every default filled in.

    Raises:
        RecipeError: for values that cannot be true together.
        ModelError, LicenseError: for a base that is not there, or whose license forbids the recipe's use.
    """
    recipe = with_values(ground.tree, values)
    base = permitted_base(recipe, settings().runs)
    recipe = decided(recipe, ground.data, base, ground.task, Silent())
    rate = recipe.training.learning_rate
    if RATE_FACTOR in values and rate is not None:
        rate = min(1.0, rate * float(values[RATE_FACTOR]))
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"learning_rate": rate})})
    return recipe


def evaluations_of(recipe: Recipe, rows: int) -> int:
    """Evaluations of a training that is not stopped early."""
    training = recipe.training
    if training.epochs is None:
        return 1
    steps_of_epoch = -(-rows // training.global_batch_size)
    steps = min(training.epochs * steps_of_epoch, training.max_steps or training.epochs * steps_of_epoch)
    return max(1, -(-steps // (training.evaluate_every_steps or steps_of_epoch)))


def attempt(ground: Ground, values: Mapping[str, Value], report: Report) -> dict[str, Any]:
    """Trains with these values, or gives what was found before.

    Args:
        report: told every evaluation; when it says that there is no hope, the trial is given up.

    Returns:
        {"state": "complete" | "pruned" | "failed", "value", "evaluations", "seconds", "values", "why"}; value is that
        of the best evaluation in the metric's unit, None without one.

    Raises:
        RunError: [run/locked] when another process works on it.
    """
    place = ground.folder(values)
    make_folder(place)
    with exclusive(place):
        folder = RunFolder(place)
        if (place / RESULT).is_file():
            found: dict[str, Any] = folder.content(place / RESULT)
            for index, value in enumerate(found["evaluations"], start=1):
                report(index, value)
            return found
        started = time.monotonic()
        if not folder.manifest():
            folder.begin_manifest(id=place.name, status="trial", environment=describe_environment())
        outcome = _train(ground, values, folder, report)
        found = {**outcome, "seconds": round(time.monotonic() - started, 2), "values": dict(values)}
        write_json(place / RESULT, found)
        for checkpoint in folder.checkpoints.glob("step-*"):
            remove_published(checkpoint)  # they were for going on
    return found


def _train(ground: Ground, values: Mapping[str, Value], folder: RunFolder, report: Report) -> dict[str, Any]:
    recipe = recipe_of_trial(ground, values)
    base = permitted_base(recipe, settings().runs)
    bench = open_bench(recipe, base, ground.data, ground.task, Own(), folder, ground.progress)
    metric, _ = bench.decides()
    most = evaluations_of(recipe, len(bench.encoded[Split.TRAIN]))
    seen: list[float] = []

    def tell(found: Mapping[str, float]) -> None:
        before = _evaluations(folder, metric)  # of a trial that goes on, those from before it was killed too
        values_so_far = [*before, found[metric]]
        hopeless = False
        for index in range(len(seen), len(values_so_far)):
            seen.append(values_so_far[index])
            hopeless = report(index + 1, values_so_far[index])
        if hopeless and len(seen) < most:
            raise _GivenUpError

    def ended(state: str, value: float | None, why: str) -> dict[str, Any]:
        return {"state": state, "value": value, "evaluations": list(seen), "of": most, "why": why}

    bench.told = tell
    bench.record()
    try:
        trained, _ = bench.train()
    except _GivenUpError:
        return ended("pruned", None, "no hope to be the best")
    except (DivergedError, OutOfMemoryError) as error:
        return ended("failed", None, error.message)
    if not seen:  # a head that is solved at once
        tell({metric: trained["best_value"]})
    return ended("complete", trained["best_value"], "")


def _evaluations(folder: RunFolder, metric: str) -> list[float]:
    """The metric at every evaluation that is on the disk."""
    lines = folder.rows(folder.metrics) if folder.metrics.exists() else []
    return [float(line["validation"][metric]) for line in lines if "validation" in line]
