"""Care for what burnish has stored: copied, verified, rid of what nobody needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from burnish.data.versions import copy_versions
from burnish.data.versions import damages as data_damages
from burnish.errors import UsageError
from burnish.lifecycle.datasets import data_store
from burnish.registry.backup import copy_registry
from burnish.registry.collect import collect, garbage
from burnish.registry.log import ServiceLog, copy_log
from burnish.registry.store import open_registry
from burnish.registry.verify import damages
from burnish.settings import settings
from burnish.storage.durable import make_folder, published_folder, remove_leftovers
from burnish.types import Progress, Silent

DATASETS, SERVICE = "datasets", "service"


def backup(target: str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Copies the registry and the data versions into a new folder, as of one moment; the folder can be used as a home.

    Raises:
        UsageError: [backup/exists].
        DamagedStoreError: [storage/damaged] when something stored is not what it was.
        DiskFullError: [storage/disk-full]; nothing of the attempt remains.
    """
    place, progress = Path(target), progress or Silent()
    if place.exists():
        raise UsageError(
            "backup/exists", "this exists already", where=str(place), hint="name a new folder for each copy"
        )
    registry = open_registry()
    make_folder(place.parent)
    progress.stage("copying versions")
    remove_leftovers(place.parent, older_than_seconds=86_400, of=place.name)
    with published_folder(place) as folder:
        count = copy_registry(registry, folder, lambda done, total: progress.advance(done, total, {}))
        progress.stage("copying data versions")
        rows = copy_versions(data_store(), folder / DATASETS)
        copy_log(registry, settings().expanded_home() / SERVICE, folder / SERVICE)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return {"folder": str(place), "versions": count, "data_versions": rows, "size_bytes": size}


def verify(home: str | Path | None = None, *, progress: Progress | None = None) -> dict[str, Any]:
    """Reads everything stored and compares it with what was stored.

    Args:
        home: of a copy that `backup` made; the settings' own when None.

    Returns:
        {"damages": one sentence each}.

    Raises:
        UsageError: [verify/no-home].
    """
    place = Path(home) if home is not None else None
    if place is not None and not place.is_dir():
        raise UsageError("verify/no-home", "is no folder", where=str(place), hint="name a copy that was made before")
    progress = progress or Silent()
    progress.stage("reading versions")
    registry = open_registry(place)
    found = list(damages(registry, lambda done, total: progress.advance(done, total, {})))
    found += data_damages(place / DATASETS if place is not None else data_store())
    found += ServiceLog(registry, (place or settings().expanded_home()) / SERVICE).damages()
    return {"damages": found}


def collect_garbage(*, older_than_days: float, yes: bool) -> dict[str, Any]:
    """Versions that nobody needs: shown, or deleted.

    Args:
        older_than_days: since they were stored, at least 0.
        yes: delete them.
    """
    registry = open_registry()
    found = garbage(registry, older_than_days=older_than_days)
    gone = set(collect(registry, older_than_days=older_than_days)) if yes else set()
    return {
        "done": yes,
        "versions": [version.as_dict() for version in found if not yes or version.id in gone],
        "size_bytes": sum(version.size_bytes for version in found if not yes or version.id in gone),
    }
