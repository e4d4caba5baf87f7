"""Models under names that move: kept, promoted through their gates, rolled back, deleted, shown with their lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from burnish.errors import PromotionRefusedError, RegistryError, UsageError
from burnish.evaluation.gates import Gate
from burnish.lifecycle.track import mirrored
from burnish.lifecycle.versions import store_checkpoint, store_model, version_in
from burnish.registry.aliases import earlier, log, point, roll_back
from burnish.registry.gates import ALWAYS, judge_gates
from burnish.registry.runs import find_run
from burnish.registry.store import CANDIDATE, CHAMPION, Registry, open_registry
from burnish.registry.version import SHOWN, Version, require_alias, require_name
from burnish.settings import settings
from burnish.storage.run_folder import RunFolder


def keep_model(run: str | Path, *, name: str | None = None) -> Version:
    """The model of a run, or RUN@step-N, as a version, which stays as it is whatever becomes of the run.

    Raises:
        RunError: [run/not-found], [run/not-finished].
        UsageError: [registry/bad-name].
    """
    if name is not None:
        require_name(name)
    registry = open_registry()
    place, _, step = str(run).rpartition("@step-")
    if place and step.isdecimal():
        return store_checkpoint(registry, find_run(place, settings().runs), int(step))
    known = _stored(registry, str(run))
    return known or store_model(registry, find_run(str(run), settings().runs), name=name)


def promote(run: str | Path, *, to: str = CHAMPION, name: str | None = None) -> dict[str, Any]:
    """Lets NAME:ALIAS mean the model of a run, or a version, if every gate agrees.

    A candidate still awaits its tests: only its license is judged.

    Args:
        run: a run, or a version (NAME:NUMBER, NAME:ALIAS, the beginning of its id).
        to: the alias.
        name: of the model when a run is promoted; the name of its data when None.

    Returns:
        {"version": ..., "alias": "NAME:ALIAS", "before": id or None, "gates": [...]}, and "mlflow": what the alias is
        called there, or why it is not, where the recipe tracks the run in MLflow.

    Raises:
        PromotionRefusedError: [promote/refused] naming each gate and its reason.
    """
    require_alias(to)
    registry = open_registry()
    version = keep_model(run, name=name)
    if version.kind != "model":
        raise UsageError(
            "promote/no-model",
            "a checkpoint is to go on from, no model",
            where=str(run),
            hint="name the run",
        )
    folder = RunFolder(registry.folder(version))
    gates = judge_gates(version, folder, only=ALWAYS if to == CANDIDATE else None)
    _require_passed(version, to, gates)
    before = point(registry, version, to, gates=[gate.as_dict() for gate in gates])
    return {
        "version": registry.get(version.id).as_dict(),
        "alias": f"{version.name}:{to}",
        "before": before,
        "gates": [gate.as_dict() for gate in gates],
        **mirrored(version, folder, to),
    }


def go_back(name: str) -> dict[str, Any]:
    """Lets NAME:ALIAS, or NAME's champion, mean what it meant before.

    Raises:
        RegistryError: [registry/nothing-before], [registry/moved].
        DamagedStoreError: [storage/damaged] when the earlier version is not what was stored; nothing is moved then.
    """
    model, _, alias = name.partition(":")
    registry = open_registry()
    version = registry.get(earlier(registry, model, alias or CHAMPION))
    folder = RunFolder(registry.folder(version))
    before = roll_back(registry, model, alias or CHAMPION, to=version.id)
    shown = mirrored(version, folder, alias or CHAMPION)
    return {"version": version.as_dict(), "alias": f"{model}:{alias or CHAMPION}", "before": before, **shown}


def delete_version(name: str, *, yes: bool) -> dict[str, Any]:
    """Deletes a version that no alias means and nothing came from.

    Args:
        yes: do it; otherwise only say what would go.

    Raises:
        RegistryError: [registry/not-found], [registry/needed].
    """
    registry = open_registry()
    version = registry.find(name)
    if yes:
        registry.delete(version)
    return {"version": version.as_dict(), "done": yes}


def list_models(
    *, name: str | None = None, task: str | None = None, alias: str | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Model versions, newest first."""
    found = open_registry().versions("model", name=name, task=task, limit=None if alias else limit)
    shown = [version.as_dict() for version in found if alias is None or alias in version.aliases]
    return shown[:limit]


def describe_version(name: str) -> dict[str, Any]:
    """A version with its files, its folder, what it came from, what came from it, and how its aliases moved.

    Raises:
        RegistryError: [registry/not-found].
        DamagedStoreError: [storage/damaged] naming the file.
    """
    registry = open_registry()
    version = registry.find(name)
    lineage = [
        {"generation": generation, "role": role, **found.as_dict()}
        for generation, role, found in registry.lineage(version)
    ]
    moves = [entry for entry in log(registry) if version.id in (entry["version"], entry["before"])]
    return {
        **version.as_dict(),
        "folder": str(registry.folder(version)) if version.files else None,
        "files": dict(version.files),
        "facts": dict(version.facts),
        "lineage": lineage,
        "children": [registry.get(child).as_dict() for child in registry.children(version.id)],
        "moves": moves,
    }


def is_version(name: str) -> bool:
    """Whether a word names a version, so that it is shown and not a base."""
    try:
        open_registry().find(name)
    except RegistryError as error:
        return error.code == "registry/ambiguous"
    return True


def _stored(registry: Registry, name: str) -> Version | None:
    """The model version that a word means; None when it is a run's."""
    try:
        found = registry.find(name, ("model",))
    except RegistryError as error:
        if error.code == "registry/ambiguous":
            raise
        inside = version_in(name)
        return registry.get(inside) if inside is not None and Path(name).is_dir() else None
    if (settings().runs / name).is_dir():
        raise UsageError(
            "registry/ambiguous-run",
            f'"{name}" is a run and a model',
            known=[str(settings().runs / name), found.label],
            hint="name the run by its folder, or the model by NAME:NUMBER",
        )
    return found


def _require_passed(version: Version, alias: str, gates: list[Gate]) -> None:
    stopped = [gate for gate in gates if not gate.passed]
    if stopped:
        raise PromotionRefusedError(
            "promote/refused",
            f"{version.label} does not become {version.name}:{alias}",
            where=version.id[:SHOWN],
            details=[f"{gate.name}: {gate.reason} {gate.advice}".rstrip() for gate in stopped],
            hint=f"the model is kept as {version.label}; as `{CANDIDATE}` it can await its tests",
        )
