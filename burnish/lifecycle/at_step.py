"""A run as it would be had it ended at one of its checkpoints."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from burnish.errors import UsageError
from burnish.lifecycle.benches import open_bench
from burnish.lifecycle.own import Own
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import read_rows, refuse_changed_data
from burnish.model.find import find_base
from burnish.recipe.read import read_recipe, recipe_text
from burnish.storage.durable import make_folder, write_json, write_text
from burnish.storage.run_folder import RunFolder
from burnish.types import Progress


@contextlib.contextmanager
def at_step(run: Run, step: int, progress: Progress) -> Iterator[Run]:
    """A run in a temporary folder whose model has the weights of a checkpoint; the folder goes away afterwards.

    Raises:
        UsageError: [compare/unknown-part] when there is no such checkpoint.
        RunError: [run/data-changed].
        DamagedStoreError: [storage/damaged].
    """
    with tempfile.TemporaryDirectory(prefix="burnish-") as place:
        scratch = RunFolder(Path(place) / run.path.name)
        package_step(run.folder, step, scratch, run.evaluation, runs=run.runs, progress=progress)
        yield Run(scratch, run.runs)


def package_step(
    folder: RunFolder, step: int, target: RunFolder, evaluation: Mapping[str, Any], *, runs: Path, progress: Progress
) -> None:
    """Makes of a checkpoint a run of its own, whose model has the weights of that step.

    Args:
        target: a folder that is not there yet.
        evaluation: that the new run shows.

    Raises:
        UsageError: [compare/unknown-part] when there is no such checkpoint.
        RunError: [run/data-changed].
        DamagedStoreError: [storage/damaged].
    """
    kept = sorted((path.name for path in folder.checkpoints.glob("step-*")), key=lambda name: (len(name), name))
    if f"step-{step}" not in kept:
        raise UsageError(
            "compare/unknown-part",
            f"this run keeps no checkpoint of step {step}",
            where=str(folder.path),
            known=kept,
            hint="`checkpoint: {keep: N}` keeps more of them",
        )
    recipe, task, prepared = read_rows(read_recipe(folder.recipe), Own())
    refuse_changed_data(folder, prepared)
    base = find_base(recipe.model, recipe_folder=Path(), runs=runs)
    bench = open_bench(recipe, base, prepared, task, Own(), folder, progress)
    model = bench.take_checkpoint(step)
    make_folder(target.path)
    target.begin_manifest(**folder.manifest())
    write_text(target.recipe, recipe_text(recipe))
    write_json(target.evaluation, dict(evaluation))
    bench.folder = target
    bench.save_final(model)
