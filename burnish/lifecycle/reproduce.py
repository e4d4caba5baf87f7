"""`burnish reproduce`: a run made again from its manifest and its recipe, and how close the second came to the first.

What can be known before is checked before: the base is there, the data is there or kept as a version, the parts of the
caller are given. What came out different is named with its size, beside everything that was not the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.data.remote import is_remote
from burnish.errors import ModelError, RunError
from burnish.evaluation.reproduction import compare_runs
from burnish.lifecycle.encode import computed_anew
from burnish.lifecycle.environment import environment_differences
from burnish.lifecycle.inputs import inputs_of
from burnish.lifecycle.own import Own
from burnish.lifecycle.stored_rows import data_gone, with_stored_rows
from burnish.lifecycle.train import permitted_base, train
from burnish.recipe.difference import recipe_differences
from burnish.recipe.read import build_recipe, read_recipe
from burnish.recipe.schema import Recipe
from burnish.registry.options import TrackingOptions
from burnish.registry.runs import find_run
from burnish.settings import settings
from burnish.storage.durable import write_json
from burnish.storage.fingerprint import file_sha256
from burnish.storage.run_folder import RunFolder
from burnish.types import Metric, Progress, Silent

if TYPE_CHECKING:
    from burnish.serving.package import HeadBuilder
    from burnish.task.text_classification import Loss, TextClassification

Difference = dict[str, Any]  # {"what", "before", "now"}, and "why" where the two values do not say it
RESULT = "reproduction.json"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is run, and what is known beforehand not to be the same.

    Attributes:
        branch: the run whose checkpoint this one went on from, with its changes; None for a run from its start.
    """

    recipe: Recipe
    differences: list[Difference]
    branch: tuple[RunFolder, list[str]] | None


def reproduce(
    run: str | Path,
    *,
    output: str | Path | None = None,
    overrides: Sequence[str] = (),
    task: type[TextClassification] | None = None,
    metric: type[Metric] | None = None,
    loss: Loss | None = None,
    head: HeadBuilder | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Runs a finished run again in a new folder and says how close it came.

    Args:
        run: id, unique beginning of an id, or folder.
        output: the new run's folder; beside the other runs, with "-again" after its name, when None.
        overrides: "training.threads=4", as after --set: what to do otherwise this time.
        task, metric, loss, head: your own, when the run was made with them.
        progress: told what happens.

    Returns:
        {"run", "again", "folder", "bit_equal", "files", "weights", "steps", "evaluation", "predictions": see
        `compare_runs`, "differences": what was not the same, each {"what", "before", "now"}}; also written to
        reproduction.json in the new folder.

    Raises:
        RunError: [run/not-found], [run/not-finished], [run/own-parts]; [reproduce/base-gone], [reproduce/data-gone],
            [reproduce/file-gone], [reproduce/parent-gone] before anything is trained.
    """
    progress, own = progress or Silent(), Own(task, metric, loss, head)
    before = find_run(str(run), settings().runs)
    manifest = before.manifest()
    _require_repeatable(before, manifest, own)
    target = Path(output) if output is not None else _next_folder(settings().runs, before.id)
    progress.stage(f"looking for what {before.id} was made of")
    plan = _plan(before, manifest, overrides, target, own)
    for difference in plan.differences:
        progress.note(said(difference))
    with computed_anew():
        after = _run_again(plan, target, own, progress)
    progress.stage("comparing the two")
    found = {
        "run": before.id,
        "again": after.id,
        "folder": str(after.path),
        **compare_runs(before, after),
        "differences": plan.differences + _found_out(manifest, after.manifest()),
    }
    after.update_manifest(reproduces={"run": before.id, "folder": str(before.path), "bit_equal": found["bit_equal"]})
    write_json(after.path / RESULT, found)
    return found


def said(difference: Mapping[str, Any]) -> str:
    """A difference in one line: what it is now, and was."""
    why = f" ({difference['why']})" if difference.get("why") else ""
    return f"{difference['what']} is {_short(difference['now'])} and was {_short(difference['before'])}{why}"


def _short(value: Any) -> str:
    text = "not recorded" if value is None else str(value)
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text


def _require_repeatable(folder: RunFolder, manifest: Mapping[str, Any], own: Own) -> None:
    """Raises RunError for a run without an end to compare with, or without parts that only its caller has."""
    if manifest.get("status") != "finished" or not folder.recipe.is_file():
        raise RunError(
            "run/not-finished",
            f'this run is "{manifest.get("status", "unknown")}"; there is no result to come close to',
            where=str(folder.path),
            hint=f"go on with: burnish resume {folder.path}",
        )
    missing = own.missing(manifest)
    if missing:
        raise RunError(
            "run/own-parts",
            f"this run was made with your own {', '.join(missing)}, which no file holds",
            where=str(folder.path),
            hint=f"give them again in Python: burnish.reproduce(run, {missing[0]}=...)",
        )


def _plan(folder: RunFolder, manifest: Mapping[str, Any], overrides: Sequence[str], target: Path, own: Own) -> _Plan:
    """The recipe to run, once all it needs was found."""
    recorded = read_recipe(folder.recipe)
    recipe = build_recipe(
        recorded.model_dump(mode="json"), [*_processes(recorded, manifest), *overrides], source="--set"
    )
    differences = recipe_differences(recorded, recipe)
    differences += _parts_differences(manifest, own) + _base_difference(recipe, recorded, manifest)
    differences += _input_differences(recipe, manifest)
    changed = _changed_files(manifest)
    branch = _branch(folder, manifest, overrides)
    if changed and recipe.data == recorded.data:
        if branch is not None:
            raise data_gone(manifest, "a run that went on from another one needs the files themselves")
        recipe = with_stored_rows(folder, recipe, target.with_name(f"{target.name}-data"), own)
        version = manifest["data"]["version"]
        differences += [
            {**each, "why": f"its rows were read from the stored version {version[:12]}"} for each in changed
        ]
    return _Plan(recipe.model_copy(update={"tracking": TrackingOptions()}), differences, branch)


def _processes(recipe: Recipe, manifest: Mapping[str, Any]) -> list[str]:
    """As many processes as a launcher started, where the recipe does not say it."""
    count = manifest.get("environment", {}).get("processes", 1)
    return [f"training.processes={count}"] if count > 1 and recipe.training.processes is None else []


def _parts_differences(manifest: Mapping[str, Any], own: Own) -> list[Difference]:
    """Parts of the caller that have other names; what is in them nobody recorded."""
    before, now = manifest.get("parts_of_the_caller", {}), own.names()
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [{"what": f"your own {name}", "before": before.get(name), "now": now.get(name)} for name in names]


def _base_difference(recipe: Recipe, recorded: Recipe, manifest: Mapping[str, Any]) -> list[Difference]:
    """Whether the base has other weights than it had.

    Raises:
        RunError: [reproduce/base-gone].
    """
    was = manifest["base"]
    try:
        base = permitted_base(recipe, settings().runs)
    except ModelError as error:
        raise RunError(
            "reproduce/base-gone",
            f"the base {was['name']} of this run cannot be opened: {error.message}",
            where=error.where,
            hint=f"put it back where it was; its weights have sha256 {was['sha256'][:12]}…",
        ) from error
    if base.sha256 == was["sha256"] or recipe.model != recorded.model:
        return []
    return [{"what": f"base {was['name']}, sha256", "before": was["sha256"], "now": base.sha256}]


def _input_differences(recipe: Recipe, manifest: Mapping[str, Any]) -> list[Difference]:
    """Files beside the rows that are not as they were.

    Raises:
        RunError: [reproduce/file-gone].
    """
    before, now = manifest.get("inputs", {}), inputs_of(recipe)
    gone = [path for path, sha256 in now.items() if sha256 is None]
    if gone:
        raise RunError(
            "reproduce/file-gone",
            "the recipe of this run names a file that is not there any more",
            where=gone[0],
            hint="put it back where it was",
        )
    return [
        {"what": path, "before": before[path], "now": sha256}
        for path, sha256 in now.items()
        if path in before and before[path] != sha256
    ]


def _changed_files(manifest: Mapping[str, Any]) -> list[Difference]:
    """Data files that are gone or hold other bytes; what lies behind a URL is read again and judged by its rows."""
    found: list[Difference] = []
    for name, facts in manifest["data"]["files"].items():
        was, path = facts.get("sha256"), Path(name)
        if is_remote(name) or was is None or path.is_dir():
            continue
        now = file_sha256(path) if path.is_file() else "gone"
        if now != was:
            found.append({"what": name, "before": was, "now": now})
    return found


def _branch(
    folder: RunFolder, manifest: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[RunFolder, list[str]] | None:
    """The run and the changes with which this one went on; None for a run from its start.

    Raises:
        RunError: [reproduce/parent-gone] when that run or its checkpoint is not there any more.
    """
    went_on = next((parent for parent in manifest.get("parents", ()) if "checkpoint" in parent), None)
    if went_on is None:
        return None
    named = Path(str(manifest.get("asked", {}).get("resume", "")))
    parent = RunFolder(named if named.is_dir() else folder.path.with_name(str(went_on["run"])))
    newest = sorted(parent.checkpoints.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    if not newest or newest[-1].name != went_on["checkpoint"]:
        raise RunError(
            "reproduce/parent-gone",
            f"this run went on from {went_on['checkpoint']} of {went_on['run']}, which is not its newest checkpoint "
            "any more",
            where=str(parent.path),
            hint="reproduce that run first",
        )
    return parent, [*went_on["changed"], *overrides]


def _run_again(plan: _Plan, target: Path, own: Own, progress: Progress) -> RunFolder:
    if plan.branch is not None:
        from burnish.lifecycle.control import resume_changed

        parent, changes = plan.branch
        return resume_changed(parent, changes, output=target, progress=progress).folder
    return train(
        plan.recipe,
        output=target,
        task=own.task,
        metric=own.metric,
        loss=own.loss,
        head=own.head,
        progress=progress,
    ).folder


def _found_out(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What only the second run shows: its environment, its rows, and a clock that ended the first."""
    found = environment_differences(before.get("environment", {}), after.get("environment", {}))
    parts = [manifest["data"]["split_fingerprint"] for manifest in (before, after)]
    if parts[0] != parts[1]:
        found.append({"what": "rows in the three parts, sha256", "before": parts[0], "now": parts[1]})
    stopped = [str(manifest["training"]["stopped"]) for manifest in (before, after)]
    steps = [manifest["training"]["steps"] for manifest in (before, after)]
    if any(reason.startswith("budget") for reason in stopped) and steps[0] != steps[1]:
        why = "a budget ends a training by the clock"
        found.append({"what": "steps", "before": steps[0], "now": steps[1], "why": why})
    return found


def _next_folder(runs: Path, name: str) -> Path:
    number, target = 2, runs / f"{name}-again"
    while target.exists():
        target, number = runs / f"{name}-again-{number}", number + 1
    return target
