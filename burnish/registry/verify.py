"""Is every version what was stored? Each entry, each file, each alias and the log, read and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import select, text

from burnish.errors import BurnishError, DamagedStoreError
from burnish.registry.aliases import aliases, log
from burnish.registry.database import reading
from burnish.registry.service_backup import damages_of_files
from burnish.registry.store import Registry
from burnish.registry.tables import ALIASES, PARENTS, READY, VERSIONS
from burnish.registry.version import damage_of_version, version_of


def damages(registry: Registry, advance: Callable[[int, int], None] = lambda done, total: None) -> Iterator[str]:
    """One sentence for everything that is not as it was stored.

    Args:
        advance: told how many versions are read, of how many.
    """
    if registry.engine.url.get_backend_name() == "sqlite":
        yield from _of_the_file(registry)
    with reading(registry.engine) as connection:
        rows = connection.execute(select(VERSIONS).where(VERSIONS.c.state == READY)).mappings().all()
        links = connection.execute(select(PARENTS.c.child, PARENTS.c.parent)).all()
        meant = connection.execute(select(ALIASES.c.name, ALIASES.c.alias, ALIASES.c.version)).all()
    stored = {str(row["id"]) for row in rows}
    parents: dict[str, set[str]] = {}
    for link in links:
        parents.setdefault(link.child, set()).add(link.parent)
    for done, row in enumerate(rows):
        advance(done, len(rows))
        try:
            version = version_of(row)
        except DamagedStoreError as error:
            yield error.message
            continue
        if parents.get(version.id, set()) != set(version.parents.values()):
            yield f"{version.kind} {version.label}: the links to what it came from were changed"
        for parent in sorted(set(version.parents.values()) - stored):
            yield f"{version.kind} {version.label}: what it came from, {parent[:12]}, is not there"
        if version.files:
            try:
                with registry.store.fresh(version.id) as folder:
                    damage = damage_of_version(folder, version)
            except BurnishError as error:
                damage = error.message
            if damage:
                yield f"{version.kind} {version.label} ({version.short_id}): {damage}"
    for alias in meant:
        if alias.version not in stored:
            yield f"alias {alias.name}:{alias.alias} means a version that is not there"
    yield from damages_of_files(registry)
    for read in (aliases, log):
        try:
            read(registry)
        except DamagedStoreError as error:
            yield error.message


def _of_the_file(registry: Registry) -> Iterator[str]:
    with reading(registry.engine) as connection:
        for line in connection.execute(text("PRAGMA integrity_check")).scalars():
            if line != "ok":
                yield f"registry.db: {line}"
