"""From a finished run to versions in the registry: the run with what it came from, and its model."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.errors import BurnishError, RegistryError, RunError
from burnish.registry.runs import RunSummary
from burnish.registry.store import Registry, open_registry
from burnish.registry.version import NewVersion, Version
from burnish.storage.durable import require_undamaged
from burnish.storage.run_folder import RunFolder
from burnish.storage.version_store import VERSION_ID
from burnish.types import Progress

RECORD = ("recipe.yaml", "manifest.json", "evaluation.json", "metrics.jsonl", "card.md")  # what is kept of every run
MODEL = ("predictions.jsonl", "problems.jsonl", "report.html")  # what a model has besides, with final/ and reference/
FOLDERS = ("final", "reference")
STATE = "state.json"  # of a checkpoint
DATA, BASE, RUN, PARENT = "data", "base", "run", "parent"  # roles of what a version came from


def record_run(folder: RunFolder, progress: Progress) -> Version | None:
    """Keeps a run in the registry, with its data and its base; a registry that refuses costs a warning, not the run."""
    try:
        return store_run(open_registry(), folder)
    except BurnishError as error:
        progress.warn(f"the run is finished, but it was not recorded in the registry: {error}")
        return None


def store_run(registry: Registry, folder: RunFolder) -> Version:
    """The version of a run as it is now: its record, which knows its data version and its base."""
    manifest = folder.manifest()
    parents = {}
    data = _data_version(registry, manifest)
    if data is not None:
        parents[DATA] = data.id
    if manifest.get("base"):
        parents.update(_base_version(registry, manifest))
    new = NewVersion(
        "run",
        usable_name(folder.id),
        files=_files(folder.path, RECORD),
        parents=parents,
        search=_search(manifest),
        place=str(folder.path.absolute()),
    )
    return registry.put(new)


def recorded_runs(*, limit: int | None = None, **wanted: str | None) -> list[RunSummary]:
    """The runs in the registry, newest first, each as it was recorded last.

    Args:
        limit: this many at most.
        wanted: task, status, answer: what they must be; base: what the name of the base must hold.
    """
    found: dict[tuple[str, str | None], RunSummary] = {}
    for row in open_registry().rows("run", **wanted):
        told = {name: str(row[name] or "") for name in ("status", "task", "method", "base", "created")}
        summary = RunSummary(
            id=row["name"],
            folder=Path(row["place"] or ""),
            answer=row["answer"],
            metric=row["metric"],
            value=row["value"],
            **told,
        )
        found.setdefault((row["name"], row["place"]), summary)
        if len(found) == limit:
            break
    return list(found.values())


def store_model(registry: Registry, folder: RunFolder, *, name: str | None = None) -> Version:
    """The version of a run's model, with everything that using, judging and watching it needs.

    Args:
        name: of the model; the name of its data when None.

    Raises:
        RunError: [run/not-finished].
    """
    manifest = folder.manifest()
    if manifest.get("status") != "finished" or not folder.final.is_dir():
        raise RunError(
            "run/not-finished",
            f'this run is "{manifest.get("status", "unknown")}" and has no model to keep yet',
            where=str(folder.path),
            hint=f"go on with: burnish resume {folder.path}",
        )
    run = store_run(registry, folder)
    parts = [path for part in FOLDERS for path in sorted((folder.path / part).rglob("*")) if path.is_file()]
    files = _files(folder.path, (*RECORD, *MODEL)) | {p.relative_to(folder.path).as_posix(): p for p in parts}
    new = NewVersion(
        "model",
        name or _data_name(manifest),
        files=files,
        parents={RUN: run.id},
        search=_search(manifest),
        place=str(folder.path.absolute()),
    )
    return registry.put(new)


def store_checkpoint(registry: Registry, folder: RunFolder, step: int) -> Version:
    """The version of a run's checkpoint: what `burnish resume --set ... --output ...` goes on from.

    Raises:
        RunError: [run/no-checkpoint] when there is none of that step.
        DamagedStoreError: [storage/damaged].
    """
    place = folder.checkpoints / f"step-{step}"
    if not (place / STATE).is_file():
        raise RunError(
            "run/no-checkpoint",
            f"this run has no checkpoint of step {step}",
            where=str(folder.path),
            known=sorted(path.name for path in folder.checkpoints.glob("step-*")),
        )
    require_undamaged(place)
    best = folder.checkpoints / f"step-{folder.content(place / STATE)['stopping']['best_step']}"
    parts = [path for part in {place, best} if part.is_dir() for path in sorted(part.iterdir())]
    new = NewVersion(
        "checkpoint",
        usable_name(folder.id),
        files=_files(folder.path, RECORD) | {path.relative_to(folder.path).as_posix(): path for path in parts},
        parents={RUN: store_run(registry, folder).id},
        facts={"step": step},
        search=_search(folder.manifest()),
        place=str(folder.path.absolute()),
    )
    return registry.put(new)


def store_imported(
    registry: Registry, name: str, files: Mapping[str, Path], manifest: Mapping[str, Any], *, place: str
) -> Version:
    """The version of a model that was made elsewhere; it knows its base and nothing before that."""
    parents = _base_version(registry, manifest)
    search = _search(manifest)
    return registry.put(NewVersion("model", name, files=files, parents=parents, search=search, place=place))


def parent_of(base: str) -> list[dict[str, Any]]:
    """{"name", "version"} of the stored model that a base is, for the manifest; none for any other base."""
    earlier = version_in(base)
    if earlier is None:
        return []
    with contextlib.suppress(RegistryError):  # a folder that only looks like one, or of another registry
        return [{"name": open_registry().get(earlier).label, "version": earlier}]
    return []


def usable_name(text: str) -> str:
    """A text as a name of versions.

    >>> usable_name("my tickets (2).csv")
    'my-tickets-2-.csv'
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip("-._")[:128] or "unnamed"


def version_in(path: Path | str) -> str | None:
    """The id of the version whose folder a path names; None for any other path.

    >>> version_in("/home/me/.burnish/versions/ab/" + "ab" * 32)[:6]
    'ababab'
    """
    return next((part for part in reversed(Path(path).parts) if VERSION_ID.fullmatch(part)), None)


def _data_version(registry: Registry, manifest: Mapping[str, Any]) -> Version | None:
    """The data version of a run. Its rows stay in the data store, where they can be forgotten."""
    data = manifest.get("data") or {}
    if not data.get("version"):
        return None
    facts = {"version": data["version"], "files": sorted(entry["sha256"] for entry in data["files"].values())}
    return registry.put(NewVersion("dataset", _data_name(manifest), facts=facts))


def _data_name(manifest: Mapping[str, Any]) -> str:
    """What data and models are called unless somebody says otherwise; runs of an earlier burnish keep no name."""
    data = manifest["data"]
    return usable_name(data.get("name") or Path(next(iter(data["files"]))).stem)


def _base_version(registry: Registry, manifest: Mapping[str, Any]) -> dict[str, str]:
    """The base as a version, and the model version that it is, where the run went on from one."""
    base = manifest["base"]
    kept = ("name", "sha256", "model_type", "parameters", "license", "license_source", "initialization")
    name = Path(base["name"]).name if Path(base["name"]).is_absolute() else base["name"]
    facts = {key: base.get(key) for key in kept if key != "name"}
    parents = {BASE: registry.put(NewVersion("base", usable_name(name), facts=facts, place=base["name"])).id}
    earlier = version_in(base["name"])
    if earlier is not None:
        with contextlib.suppress(RegistryError):  # a folder that only looks like one, or of another registry
            parents[PARENT] = registry.get(earlier).id
    return parents


def _files(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    return {name: folder / name for name in names if (folder / name).is_file()}


def _search(manifest: Mapping[str, Any]) -> dict[str, Any]:
    verdict = manifest.get("verdict") or {}
    return {
        "task": manifest.get("task"),
        "method": manifest.get("method"),
        "base": (manifest.get("base") or {}).get("name"),
        "status": manifest.get("status"),
        "answer": verdict.get("answer"),
        "metric": verdict.get("metric"),
        "value": verdict.get("tuned"),
    }
