"""`burnish train`: from rows to a tuned model with a verdict, one stage after the other, each leaving its files.

    prepare data -> open the base -> encode -> features of the frozen base -> train -> final/ -> verdict -> report

Every stage can run again on the same folder and gives the same files, so resuming is running: only the training
itself starts from its newest checkpoint.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.data.clean import LABEL
from burnish.data.disk_rows import DiskRows
from burnish.data.prepare import PreparedData, rows_sha256
from burnish.data.remembered import prepare_once
from burnish.data.row_format import RowFormat
from burnish.engine.budget import cost_of
from burnish.errors import BurnishError, RecipeError, RunError, StoppedRunError, excerpt, nearest
from burnish.evaluation.metrics import register_metric
from burnish.lifecycle.canaries import check_memory_options
from burnish.lifecycle.datasets import keep_version
from burnish.lifecycle.decided import decided
from burnish.lifecycle.energy import EnergyMeter
from burnish.lifecycle.environment import (
    describe_environment,
    differing_environment,
    peak_memory_bytes,
)
from burnish.lifecycle.follow import follow, follows, led, release_followers
from burnish.lifecycle.forecast import Forecast, forecast, require_fit
from burnish.lifecycle.inputs import inputs_of
from burnish.lifecycle.machine_speed import learn_from
from burnish.lifecycle.own import Own
from burnish.lifecycle.recipe_of import recipe_of, with_absolute_paths
from burnish.lifecycle.resolve import (
    check_evaluation,
)
from burnish.lifecycle.rows import carried, settled_task
from burnish.lifecycle.run import Run
from burnish.lifecycle.track import tracked
from burnish.model.find import find_base
from burnish.model.libraries import collector_at_rest
from burnish.model.license import describe_license, require_known_use, require_use
from burnish.model.load import Base
from burnish.recipe.read import read_recipe, recipe_text, require_no_contradictions
from burnish.recipe.schema import Recipe
from burnish.registry.tracking import require_installed
from burnish.settings import settings
from burnish.storage.durable import make_folder, remove_leftovers, require_space, write_text
from burnish.storage.lock import exclusive
from burnish.storage.run_folder import RunFolder
from burnish.task.build import TASKS
from burnish.types import Metric, Progress, Silent, Split

if TYPE_CHECKING:
    from burnish.serving.package import HeadBuilder
    from burnish.task.text_classification import Loss, TextClassification

WITHOUT_TEXTS = {"features", "image", "user"}  # columns of tasks that need no tokenizer


def train(
    source: str | Path | Recipe,
    *,
    test: str | Path | None = None,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    task: type[TextClassification] | None = None,
    metric: type[Metric] | None = None,
    loss: Loss | None = None,
    head: HeadBuilder | None = None,
    progress: Progress | None = None,
    record: bool = True,
) -> Run:
    """Trains on a data file or a recipe and judges the result.

    Args:
        source: data file (CSV, TSV, JSONL), recipe file (.yaml) or a Recipe.
        test: file of the test rows; 10 % of the training rows then validate.
        overrides: "section.field=value", as after --set.
        seed: of every random choice; the recipe's when None.
        output: the run's folder; a new one under the runs folder when None.
        resume: go on in `output`, or start when there is nothing.
        task, metric, loss, head: your own instead of ours, see docs/guides/own-parts.md.
        progress: told what happens.
        record: also keep the run and its data version in the registry; else all there is of it is in its folder.

    Returns:
        The run; `run.verdict["answer"]` is better, same, worse or too little data.

    Raises:
        BurnishError: with a stable code for every mistake in recipe, data or base.
    """
    runs = settings().runs
    own = Own(task, metric, loss, head)
    if follows():
        return Run(follow(own), runs, own)
    folder = RunFolder(Path(output) if output is not None else runs / _new_id(source))
    begun = folder.recipe.is_file() and bool(folder.manifest())
    if begun and not resume:
        raise RunError(
            "run/exists",
            f'this folder already holds the run "{folder.id}"',
            where=str(folder.path),
            hint="go on with --resume, or name another --output",
        )
    asked = {"source": str(source), "test": test and str(test), "set": list(overrides), "seed": seed}
    if begun:
        if folder.manifest().get("asked") != asked and progress is not None:
            progress.warn("the run goes on with its own recipe.yaml; what it is asked for now is not read")
        return resume_run(folder, own=own, progress=progress, record=record)
    _refuse_other_files(folder)
    recipe, recipe_folder = recipe_of(source, test=test, overrides=overrides, seed=seed)
    make_folder(folder.path)
    with exclusive(folder.path), _outcome_recorded(folder, progress or Silent()):
        remove_leftovers(folder.path)
        folder.begin_manifest(
            id=folder.path.resolve().name,
            status="preparing",
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            asked=asked,
            parts_of_the_caller=own.names(),
        )
        recipe = with_absolute_paths(recipe, recipe_folder)
        with led(folder, recipe, own):
            _run_stages(folder, recipe, own=own, runs=runs, progress=progress or Silent(), record=record)
    return Run(folder, runs, own)


def resume_run(
    folder: RunFolder,
    *,
    own: Own | None = None,
    budget: Mapping[str, float] | None = None,
    progress: Progress | None = None,
    record: bool = True,
) -> Run:
    """Goes on with a run from its newest complete checkpoint; a finished run is left as it is.

    Args:
        budget: "max_seconds", "max_cost" of the section training, over all parts of the run; its own when None.
        record: see `train`.

    Raises:
        RunError: [run/locked] when another process works on it; [run/data-changed] when a data file is not the one
            the run started with.
    """
    runs = settings().runs
    chosen = own or Own()
    progress = progress or Silent()
    if follows():
        return Run(follow(chosen), runs, chosen)
    manifest = folder.manifest()
    if manifest.get("status") == "cancelled":
        raise RunError(
            "run/cancelled",
            "this run was cancelled",
            where=str(folder.path),
            hint="start a new one, or branch off: burnish resume RUN --set training.learning_rate=1e-5",
        )
    if manifest.get("status") == "finished":
        progress.note(f"run {folder.id} is already finished")
        release_followers(folder)
        return Run(folder, runs, chosen)
    missing = chosen.missing(manifest)
    if missing:
        raise RunError(
            "run/own-parts",
            f"this run was started with your own {', '.join(missing)}; they are needed to go on",
            where=str(folder.path),
            hint="resume it in Python: burnish.train(..., output=folder, resume=True, task=...)",
        )
    with exclusive(folder.path):
        remove_leftovers(folder.path)
        if not folder.recipe.is_file():
            raise RunError(
                "run/no-recipe",
                "this run stopped before its recipe was settled; there is nothing to go on from",
                where=str(folder.path),
                hint="start it again with `burnish train` and another --output, or delete the folder",
            )
        recipe = read_recipe(folder.recipe, [f"training.{field}={value}" for field, value in (budget or {}).items()])
        if budget:
            write_text(folder.recipe, recipe_text(recipe))
        folder.clear_request()
        with _outcome_recorded(folder, progress), led(folder, recipe, chosen):
            _run_stages(folder, recipe, own=chosen, runs=runs, progress=progress, record=record)
    return Run(folder, runs, chosen)


def _run_stages(folder: RunFolder, recipe: Recipe, *, own: Own, runs: Path, progress: Progress, record: bool) -> None:
    """All stages of a run; see the module's first lines."""
    with collector_at_rest():
        from burnish.engine.memory import release_memory
        from burnish.lifecycle.benches import open_bench
        from burnish.lifecycle.judge import judge_run, publish_report
        from burnish.lifecycle.observe import keep_reference
        from burnish.lifecycle.versions import parent_of, record_run

    started, meter = time.monotonic(), EnergyMeter()
    require_installed(recipe.tracking)
    progress.stage("reading and splitting the data")
    recipe, chosen, data = read_rows(recipe, own, learns=True)
    refuse_changed_data(folder, data)
    for note in data.notes:
        progress.note(note)
    for warning in data.warnings:
        progress.warn(warning)
    if own.metric is not None:
        register_metric(own.metric)
    if own.metric is not None and recipe.evaluation.metric is None:
        evaluation = recipe.evaluation.model_copy(update={"metric": own.metric.name})
        recipe = recipe.model_copy(update={"evaluation": evaluation})
    check_evaluation(recipe, data.labels, tagged="tags" in chosen.columns)
    check_memory_options(recipe.model_copy(update={"task": chosen.name}))
    progress.stage("opening the base")
    base = permitted_base(recipe, runs)
    recipe = decided(recipe, data, base, chosen, progress)
    if recipe.export.to:
        from burnish.lifecycle.export_rehearsal import require_exports

        require_exports(recipe, chosen.name, base, own=bool(own.names()))
    expected = _required_fit(recipe, base, data, progress)
    if not folder.recipe.exists():
        write_text(folder.recipe, recipe_text(recipe))
    for difference in differing_environment(folder.manifest().get("environment", {})):
        progress.warn(f"{difference}: the last bits of the numbers may differ from before")
    about = _describe_data(data) | {"name": Path(recipe.data.train_files[0]).stem, "version": None}
    if record:
        about["version"], data = keep_version(data, recipe, folder)
        if isinstance(data.splits[Split.TRAIN], DiskRows):  # nobody has the rows in memory any more
            gc.collect()
            release_memory()
    folder.update_manifest(
        status="running",
        error=None,
        task=chosen.name,
        method=recipe.method.name if recipe.method else "",
        base=base.describe(),
        parents=folder.manifest().get("parents") or (parent_of(base.name) if record else []),
        license=describe_license(base, recipe.model.use),
        forecast=expected and expected.as_dict(),
        inputs=inputs_of(recipe),
        data=about,
        sealed={"opened": 0} | folder.manifest().get("sealed", {}) | {"sha256": rows_sha256(data.splits[Split.TEST])},
        environment=describe_environment(),
    )
    with tracked(folder, recipe, progress) as told:
        workbench = open_bench(recipe, base, data, chosen, own, folder, told)
        workbench.record()
        require_space(folder.path, workbench.expected_bytes())
        if recipe.export.to:
            from burnish.lifecycle.export_rehearsal import rehearse_exports

            told.note(rehearse_exports(workbench))
        trained, model = workbench.train()
        seconds = round(time.monotonic() - started, 1)
        folder.update_manifest(training={**trained, "seconds": seconds, "peak_memory_bytes": peak_memory_bytes()})
        meter.look()
        workbench.save_final(model)
        judge_run(folder, workbench, runs=runs)
        keep_reference(folder, workbench)
        _record_spending(folder, recipe, expected, base, seconds=time.monotonic() - started, meter=meter)
        publish_report(folder)
        if recipe.export.to:
            from burnish.lifecycle.export import export_all

            export_all(folder, recipe.export.to, rows=recipe.export.rows, runs=runs, progress=told)
        folder.update_manifest(status="finished")
        folder.event("finished")
    release_memory()  # whoever called us goes on in this process
    if record:
        record_run(folder, progress)


def permitted_base(recipe: Recipe, runs: Path) -> Base:
    """The base of a recipe, whose license allows the use that the recipe names."""
    require_known_use(recipe.model)
    base = find_base(recipe.model, recipe_folder=Path(), runs=runs)
    require_use(base, recipe.model.use)
    return base


def _required_fit(recipe: Recipe, base: Base, data: PreparedData, progress: Progress) -> Forecast | None:
    """What the run will need, told; ModelError [model/does-not-fit] when that is more than there is."""
    expected = forecast(recipe, base, data)
    if expected is not None:
        require_fit(expected, recipe, base)
        progress.note(expected.sentence())
    return expected


def _record_spending(
    folder: RunFolder, recipe: Recipe, expected: Forecast | None, base: Base, *, seconds: float, meter: EnergyMeter
) -> None:
    """Seconds, money and energy of the run; its pace corrects the next forecasts on this machine."""
    watt_hours, source = meter.reading()
    folder.update_manifest(
        seconds=round(seconds, 1),
        cost=cost_of(seconds, recipe.training),
        energy={"watt_hours": watt_hours, "source": source},
        peak_memory_bytes=peak_memory_bytes(),
    )
    training = folder.manifest()["training"]
    if expected is not None and recipe.method is not None and training["stopped"] == "finished":
        learn_from(
            expected.inputs["multiplications"],
            seconds,
            threads=recipe.training.threads or 1,
            family=base.model_type,
            method=recipe.method.name,
        )


def read_rows(recipe: Recipe, own: Own, *, learns: bool = False) -> tuple[Recipe, Any, PreparedData]:
    """The recipe with its task, the class of the task, and the prepared rows; paths are absolute.

    Args:
        learns: a training follows.

    Raises:
        BurnishError: whatever reading and splitting raises.
    """
    row_format = None
    if own.task is None:
        recipe, row_format = settled_task(recipe, Path())
        require_no_contradictions(recipe)  # some show only when the task is known
    chosen = own.task or task_class(recipe)
    if learns:
        _import_before_rows(chosen)
    data = prepare_once(
        carried(recipe),
        wanted_columns(chosen, row_format),
        base_folder=Path(),
        seed=recipe.training.seed,
        row_format=row_format,
    )
    return recipe, chosen, data


def _import_before_rows(task: Any) -> None:
    """Imports what a training needs anyway, before there are rows.

    What stays of an import lies wherever memory is free. Among rows, it would keep the memory of those that go.
    """
    import numpy.random  # noqa: F401

    if not WITHOUT_TEXTS & task.columns.keys():
        import tokenizers  # noqa: F401


def wanted_columns(task: Any, row_format: RowFormat | None) -> Mapping[str, type]:
    """The canonical columns that reading asks for: the task's, or of rows read as a format the label."""
    if row_format is None:
        columns: Mapping[str, type] = task.columns
        return columns
    return {LABEL: str} if row_format.has_label else {}


def _refuse_other_files(folder: RunFolder) -> None:
    """A run owns its folder; one that stopped before its recipe was settled may begin again."""
    if folder.manifest() or not folder.path.is_dir():
        return
    others = sorted(path.name for path in folder.path.iterdir() if not path.name.startswith("."))
    if others:
        raise RunError(
            "run/not-empty",
            f"this folder is not a run and holds other files: {', '.join(map(excerpt, others[:3]))}",
            where=str(folder.path),
            hint=f"name a folder of its own: --output {folder.path / 'run'}",
        )


def task_class(recipe: Recipe) -> Any:
    """The task a recipe names: one of ours, or one an installed package offers.

    Raises:
        RecipeError: [recipe/unknown-task].
    """
    name = recipe.task or "text-classification"
    found = TASKS.get(name) or _entry_point("burnish.tasks", name)
    if found is None:
        close = nearest(name, TASKS)
        raise RecipeError(
            "recipe/unknown-task",
            f'there is no task "{name}"',
            where="task",
            known=sorted(TASKS),
            hint=f'did you mean "{close}"?' if close else None,
        )
    return found


def _entry_point(group: str, name: str) -> Any:
    """A part that an installed package offers under a name; nothing is loaded unless the recipe names it."""
    import importlib.metadata

    for entry in importlib.metadata.entry_points(group=group, name=name):
        return entry.load()
    return None


def refuse_changed_data(folder: RunFolder, data: PreparedData) -> None:
    """Raises RunError [run/data-changed] when the rows are not those the run started with."""
    before = folder.manifest().get("data", {}).get("split_fingerprint")
    if before is not None and before != data.split_fingerprint:
        raise RunError(
            "run/data-changed",
            "the data files give other rows than when this run started",
            where=", ".join(data.files),
            hint="put the old files back to go on, or start a new run",
        )


def _describe_data(data: PreparedData) -> dict[str, Any]:
    problems: dict[str, int] = {}
    for problem in data.problems:
        problems[problem.code] = problems.get(problem.code, 0) + 1
    return {
        "files": {name: dict(entry) for name, entry in data.files.items()},
        "columns": dict(data.columns),
        "splits": {split.value: len(rows) for split, rows in data.splits.items()},
        "labels": {split.value: dict(counts) for split, counts in data.label_counts.items()},
        "origins": dict(sorted(Counter(e.provenance.value for e in data.found[Split.TRAIN]).items())),
        "problems": problems,
        "notes": list(data.notes),
        "warnings": list(data.warnings),
        "split_fingerprint": data.split_fingerprint,
    }


@contextlib.contextmanager
def _outcome_recorded(folder: RunFolder, progress: Progress) -> Iterator[None]:
    """Leaves in the run how it ended. A pause or a cancel that was asked for is no failure."""
    try:
        yield
    except StoppedRunError as stop:
        status = stop.code.removeprefix("engine/")
        folder.update_manifest(status=status, error=None)
        folder.event(status)
        folder.clear_request()
        progress.note(f"{stop.message}{f' ({stop.hint})' if stop.hint else ''}")
    except BaseException as error:
        _record_failure(folder, error)
        raise


def _record_failure(folder: RunFolder, error: BaseException) -> None:
    """Leaves the reason in the run; the checkpoint, if any, stays usable."""
    code = getattr(error, "code", type(error).__name__)
    status = "interrupted" if code == "engine/interrupted" or isinstance(error, KeyboardInterrupt) else "failed"
    _quietly(lambda: folder.update_manifest(status=status, error={"code": code, "message": str(error)[:500]}))


def _quietly(action: Callable[[], None]) -> None:
    """Does something that must not hide the error on its way out (the disk may be full)."""
    with contextlib.suppress(OSError, BurnishError):
        action()


def _new_id(source: str | Path | Recipe) -> str:
    path = Path(source.data.train_files[0] if isinstance(source, Recipe) else source)
    telling = path.resolve().parent.name if path.stem in ("train", "recipe") else path.stem
    name = re.sub(r"[^a-z0-9]+", "-", telling.lower()).strip("-")[:40] or "run"
    moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    return f"{name}-{moment}-{secrets.token_hex(2)}"
