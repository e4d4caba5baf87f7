"""A copy of the registry as of one moment, which is a home of burnish itself: point BURNISH_HOME at it to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import RowMapping, insert, select

from burnish.errors import DamagedStoreError, RegistryError
from burnish.registry.database import open_database, writing
from burnish.registry.service_backup import COPIED, at_rest, copy_files, service_queries
from burnish.registry.store import Registry
from burnish.registry.tables import ALIASES, LOG, PARENTS, READY, VERSIONS
from burnish.registry.version import Version, damage_of_version, damaged, version_of
from burnish.storage.version_store import LocalStore

ATTEMPTS = 5  # when versions are deleted while they are copied
_BATCH = 500  # rows at a time

Rows = Sequence[RowMapping]


def copy_registry(registry: Registry, home: Path, advance: Callable[[int, int], None]) -> int:
    """Copies every version and every alias into an empty folder; gives the number of versions.

    Args:
        advance: told how many versions are copied, of how many.

    Raises:
        DamagedStoreError: [storage/damaged] when a version is not what was stored: a copy of it would be no copy.
        RegistryError: [registry/busy] when versions are deleted faster than they are copied.
    """
    store = LocalStore(home / "versions")
    for _ in range(ATTEMPTS):
        tables = _as_of_now(registry)
        versions = [version_of(row) for row in tables["versions"]]
        copied = all(_copied(registry, version, store) for version in _counted(versions, advance))
        if copied and copy_files(registry, tables["files"], home / "service"):
            _write(home, tables)
            return len(versions)
    raise RegistryError(
        "registry/busy", "versions are deleted while they are copied", hint="try again when `burnish gc` is done"
    )


def _as_of_now(registry: Registry) -> Mapping[str, Rows]:
    """All rows as of one moment: nobody writes while they are read."""
    with writing(registry.engine) as connection:
        ready = select(VERSIONS).where(VERSIONS.c.state == READY)
        queries = {
            "versions": ready,
            "parents": select(PARENTS).where(PARENTS.c.child.in_(ready.with_only_columns(VERSIONS.c.id))),
            "aliases": select(ALIASES),
            "log": select(LOG).order_by(LOG.c.id),
            **service_queries(),
        }
        return {name: connection.execute(query).mappings().all() for name, query in queries.items()}


def _counted(versions: Sequence[Version], advance: Callable[[int, int], None]) -> Iterator[Version]:
    for done, version in enumerate(versions):
        advance(done, len(versions))
        yield version


def _copied(registry: Registry, version: Version, store: LocalStore) -> bool:
    """Copies the files of a version; False when it was deleted in the meantime."""
    if not version.files:
        return True
    try:
        with registry.store.fresh(version.id) as folder:
            damage = damage_of_version(folder, version)
            if damage is None:
                store.publish(version.id, {name: folder / name for name in version.files})
                return True
    except (DamagedStoreError, FileNotFoundError):
        damage = "its files are not there"
    try:
        registry.get(version.id)
    except RegistryError:
        return False
    raise damaged(f"version {version.label} is not what was stored: {damage}", version.id)


def _write(home: Path, tables: Mapping[str, Rows]) -> None:
    with writing(open_database(home, None)) as connection:
        for table in (VERSIONS, PARENTS, ALIASES, LOG, *COPIED):
            rows = [at_rest(table, row) for row in tables[table.name]]
            for start in range(0, len(rows), _BATCH):
                connection.execute(insert(table), rows[start : start + _BATCH])
