"""Runs on disk: list them, find one by what a person would type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import DamagedStoreError, RegistryError, RunError, nearest
from burnish.settings import expanded, settings
from burnish.storage.run_folder import RunFolder
from burnish.storage.version_store import VERSION_ID

REGISTRY = "registry.db"  # in burnish's home, where the settings name no other database


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of `burnish runs`."""

    id: str
    folder: Path
    status: str
    task: str
    method: str
    base: str
    created: str
    answer: str | None
    metric: str | None
    value: float | None

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"folder": str(self.folder)}


def list_runs(runs: Path) -> list[RunSummary]:
    """All runs under a folder, newest first."""
    if not runs.is_dir():
        return []
    found = [summary for path in runs.iterdir() if (summary := _summary(path)) is not None]
    return sorted(found, key=lambda summary: summary.created, reverse=True)


def chosen_runs(
    runs: Sequence[RunSummary],
    *,
    task: str | None = None,
    status: str | None = None,
    base: str | None = None,
    answer: str | None = None,
    limit: int | None = None,
) -> list[RunSummary]:
    """Those with this task, status and verdict, and `base` in the name of their base; the first `limit` of them."""
    wanted = {"task": task, "status": status, "answer": answer}
    found = [run for run in runs if all(value in (None, getattr(run, name)) for name, value in wanted.items())]
    return [run for run in found if base is None or base.lower() in run.base.lower()][:limit]


def find_run(name: str, runs: Path, *, to_change: bool = False) -> RunFolder:
    """The run a person means: its folder, its id, the unique beginning of an id, or a version of a model.

    Args:
        to_change: what is asked for writes into the run, which a version never allows.

    Raises:
        RunError: [run/not-found], [run/ambiguous], [run/is-a-version].
        DamagedStoreError: [storage/damaged] when the files of the version are not what was stored.
    """
    path = expanded(name)
    if (path / "manifest.json").is_file():
        if to_change and VERSION_ID.fullmatch(path.resolve().name):
            raise _never_changes(name, path)
        return RunFolder(path)
    ids = {summary.id: summary.folder for summary in list_runs(runs)}
    if name in ids:
        return RunFolder(ids[name])
    matches = [run_id for run_id in ids if run_id.startswith(name)]
    if len(matches) == 1:
        return RunFolder(ids[matches[0]])
    if matches:
        raise RunError("run/ambiguous", f'"{name}" begins {len(matches)} run ids', known=matches[:10])
    version = version_folder(name)
    if version is not None and to_change:
        raise _never_changes(name, version)
    if version is not None:
        return RunFolder(version)
    close = nearest(name, ids)
    raise RunError(
        "run/not-found",
        f'no run "{name}" in {runs}',
        known=list(ids)[:10],
        hint=f'did you mean "{close}"?' if close else "list them with `burnish runs`, or name the run's folder",
    )


def version_folder(name: str) -> Path | None:
    """The verified folder of the model version that a word means; None when it means none.

    Raises:
        RegistryError: [registry/ambiguous].
        DamagedStoreError: [storage/damaged].
    """
    chosen = settings()
    if chosen.database_url is None and not (chosen.expanded_home() / REGISTRY).is_file():
        return None
    from burnish.registry.store import open_registry

    registry = open_registry()
    try:
        return registry.folder(registry.find(name, ("model", "checkpoint")))
    except RegistryError as error:
        if error.code != "registry/not-found":
            raise
        return None


def _never_changes(name: str, folder: Path) -> RunError:
    return RunError(
        "run/is-a-version",
        f'"{name}" is a stored version, which never changes',
        where=str(folder),
        hint="name the run that it came from: `burnish models show` says which",
    )


def _summary(path: Path) -> RunSummary | None:
    try:
        manifest = RunFolder(path).manifest()
    except (DamagedStoreError, RunError):
        return None
    if not manifest:
        return None
    verdict = manifest.get("verdict") or {}
    return RunSummary(
        id=str(manifest.get("id", path.name)),
        folder=path,
        status=str(manifest.get("status", "unknown")),
        task=str(manifest.get("task", "")),
        method=str(manifest.get("method", "")),
        base=str((manifest.get("base") or {}).get("name", "")),
        created=str(manifest.get("created", "")),
        answer=verdict.get("answer"),
        metric=verdict.get("metric"),
        value=verdict.get("tuned"),
    )
