"""`burnish import`: a model folder of somebody else, or a model of the hub, becomes a version to train on from.

It is inspected before anything opens it; what is no weights, settings or vocabulary stays behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from burnish.errors import RunError, UsageError, nearest
from burnish.evaluation.card import render_card
from burnish.lifecycle.versions import store_imported, usable_name
from burnish.model.adapters import adapter_kind
from burnish.model.find import HUB_FILES, HUB_ID, find_base, hub_folder
from burnish.model.intake import inspect_adapter_folder, inspect_model_folder
from burnish.model.license import describe_license, license_of_folder
from burnish.model.load import Base
from burnish.model.options import ModelOptions
from burnish.registry.store import open_registry
from burnish.registry.version import require_name
from burnish.settings import expanded, settings
from burnish.storage.durable import MANIFEST, make_folder, write_json, write_text
from burnish.storage.fingerprint import file_sha256
from burnish.storage.run_folder import FORMAT, RunFolder
from burnish.task.build import TASKS

IMPORTED = "imported"  # status and method of such a version
DESCRIPTION = "model.json"


def import_model(
    source: str | Path, *, name: str | None = None, task: str | None = None, license_: str | None = None
) -> dict[str, Any]:
    """Keeps a foreign model as a version.

    Args:
        source: folder with config.json and *.safetensors, or with adapter_config.json, or a hub id.
        name: of the model; the last part of the source when None.
        task: what it is for, to find it by; None: not said.
        license_: its license, where its files do not name one; recorded as stated by you.

    Returns:
        {"version": ..., "kind": "model" or "adapter", "license": of the model, or of the base under an adapter,
        "own_license": of an adapter that names one, "parameters", "never_opened": pickles and code left behind}.

    Raises:
        ModelError: those of the intake and of finding the base under an adapter.
        LicenseError: [license/unknown], [license/contradicts] for the stated license.
        UsageError: [registry/bad-name]; [import/unknown-task].
        RunError: [import/is-a-run].
    """
    source = str(source)
    _require_task(task)
    folder = _found(source)
    chosen = name or usable_name(folder.resolve().name if folder == expanded(source) else Path(source).name)
    require_name(chosen)
    adapter = (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()
    inspection = inspect_adapter_folder(folder) if adapter else inspect_model_folder(folder)
    base = _under(folder, inspection.model_type if adapter else str(folder), license_)
    own = license_of_folder(folder) if adapter else None
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "id": chosen,
        "status": IMPORTED,
        "task": task,
        "method": adapter_kind(folder) if adapter else IMPORTED,
        "base": base.describe() | ({} if adapter else {"name": chosen}),
        "license": describe_license(base, None),
        "imported": {"from": source, "never_opened": list(inspection.ignored), "own_license": own and own[0]},
    }
    with tempfile.TemporaryDirectory(dir=_scratch()) as work:
        files = _kept(folder) | _written(Path(work), manifest, base, _kept(folder))
        version = store_imported(open_registry(), chosen, files, manifest, place=str(folder))
    return {
        "version": version.as_dict(),
        "kind": "adapter" if adapter else "model",
        "license": base.license,
        "own_license": own and own[0],
        "parameters": inspection.parameters,
        "never_opened": list(inspection.ignored),
    }


def _require_task(task: str | None) -> None:
    if task is not None and task not in TASKS:
        close = nearest(task, TASKS)
        raise UsageError(
            "import/unknown-task",
            f'there is no task "{task}"',
            where="--task",
            known=sorted(TASKS),
            hint=f'did you mean "{close}"?' if close else None,
        )


def _found(source: str) -> Path:
    """The folder, or the snapshot of a hub id."""
    folder = expanded(source)
    if (folder / "final").is_dir():
        raise RunError(
            "import/is-a-run",
            "this is a run of burnish, whose model can be kept as it is",
            where=str(folder),
            hint=f"burnish models keep {folder}",
        )
    if folder.is_dir() or not HUB_ID.fullmatch(source):
        return folder
    return hub_folder(source, None)


def _under(folder: Path, named: str, license_: str | None) -> Base:
    """The base that an adapter lies on; a folder is named so that it is found from anywhere."""
    place = folder / expanded(named)
    options = ModelOptions(base=str(place.resolve()) if place.is_dir() else named, license=license_)
    return find_base(options, recipe_folder=Path(), runs=settings().runs)


def _kept(folder: Path) -> dict[str, Path]:
    """Weights, settings and vocabularies, by their names inside the version; links of a hub cache are followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        foreign = path.suffix == ".safetensors" and len(relative.parts) > 1
        described = relative.as_posix() in (DESCRIPTION, MANIFEST)
        if path.is_file() and not (hidden or foreign or described) and any(fnmatch(path.name, p) for p in HUB_FILES):
            found[f"final/{relative.as_posix()}"] = path.resolve()
    return found


def _written(work: Path, manifest: Mapping[str, Any], base: Base, kept: Mapping[str, Path]) -> dict[str, Path]:
    """What burnish keeps beside the files of a model, written into a folder that goes away again."""
    run = RunFolder(work)
    about = base.describe() | {"folder": str(base.folder.resolve())}
    write_json(work / DESCRIPTION, {"format": 1, "task": manifest["task"], "method": manifest["method"], "base": about})
    model = {**kept, f"final/{DESCRIPTION}": work / DESCRIPTION}
    listed = {
        name.removeprefix("final/"): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for name, path in model.items()
    }
    write_json(work / MANIFEST, listed)
    write_json(run.manifest_file, manifest)
    write_text(run.card, render_card(work))
    return {
        f"final/{DESCRIPTION}": work / DESCRIPTION,
        f"final/{MANIFEST}": work / MANIFEST,
        run.manifest_file.name: run.manifest_file,
        run.card.name: run.card,
    }


def _scratch() -> Path:
    folder = settings().expanded_home() / "imports"
    make_folder(folder)
    return folder
