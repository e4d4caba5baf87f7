"""Garbage: versions that nobody serves, no alias can mean again, nothing came from, and nobody touched for long."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection, select

from burnish.registry.aliases import ever_meant
from burnish.registry.database import reading, writing
from burnish.registry.service_tables import SERVED
from burnish.registry.store import Registry, doom
from burnish.registry.tables import PARENTS, PENDING, READY, VERSIONS
from burnish.registry.version import Version, version_of

ABANDONED_SECONDS = 86_400.0  # what has been half stored for longer died on the way
DAY = 86_400.0


def garbage(registry: Registry, *, older_than_days: float) -> list[Version]:
    """What `collect` would delete now."""
    with reading(registry.engine) as connection:
        unneeded = _unneeded(connection, older_than_days)
        query = select(VERSIONS).where(VERSIONS.c.id.in_(unneeded)).order_by(VERSIONS.c.created)
        return [version_of(row) for row in connection.execute(query).mappings()]


def collect(registry: Registry, *, older_than_days: float) -> Sequence[str]:
    """Deletes what nobody needs, and what killed processes left; gives the ids of the versions.

    A run's record is never garbage, and so neither are the data and the base that it came from.

    Args:
        older_than_days: since a version was stored or last stored again.
    """
    with writing(registry.engine) as connection:
        abandoned = (VERSIONS.c.state == PENDING) & (VERSIONS.c.touched < time.time() - ABANDONED_SECONDS)
        died = connection.scalars(select(VERSIONS.c.id).where(abandoned)).all()
        doom(connection, [*_unneeded(connection, older_than_days), *died])
    swept = registry.sweep()
    registry.store.remove_leftovers(ABANDONED_SECONDS)
    return swept


def _unneeded(connection: Connection, older_than_days: float) -> list[str]:
    """Ids of versions that are not among the needed ones or what those came from."""
    young = (VERSIONS.c.touched >= time.time() - older_than_days * DAY) | (VERSIONS.c.state == PENDING)
    needed = set(connection.scalars(select(VERSIONS.c.id).where(young | (VERSIONS.c.kind == "run"))))
    needed |= ever_meant(connection)
    needed |= set(connection.scalars(select(SERVED.c.version).where(SERVED.c.deleted.is_(None))))
    parents: dict[str, list[str]] = {}
    for row in connection.execute(select(PARENTS.c.child, PARENTS.c.parent)):
        parents.setdefault(row.child, []).append(row.parent)
    waiting = list(needed)
    while waiting:
        for parent in parents.get(waiting.pop(), ()):
            if parent not in needed:
                needed.add(parent)
                waiting.append(parent)
    stored = connection.scalars(select(VERSIONS.c.id).where(VERSIONS.c.state == READY))
    return [version for version in stored if version not in needed]
