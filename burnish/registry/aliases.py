"""Names that move: NAME:ALIAS means one version of a model now and may mean another tomorrow; every move is logged."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select

from burnish.errors import RegistryError
from burnish.registry.database import reading, writing
from burnish.registry.store import Registry, require_ready
from burnish.registry.tables import ALIASES, LOG
from burnish.registry.version import Version, damaged, require_alias
from burnish.storage.fingerprint import canonical_json, canonical_sha256

PROMOTE, ROLL_BACK = "promote", "roll back"


@dataclass(frozen=True, slots=True)
class Alias:
    """NAME:ALIAS and the id of the version it means."""

    name: str
    alias: str
    version: str


def aliases(registry: Registry) -> list[Alias]:
    """Every alias.

    Raises:
        DamagedStoreError: [storage/damaged] for one that was changed behind the registry's back.
    """
    with reading(registry.engine) as connection:
        rows = connection.execute(select(ALIASES).order_by(ALIASES.c.name, ALIASES.c.alias)).mappings().all()
    return [_alias_of(row) for row in rows]


def point(registry: Registry, version: Version, alias: str, *, gates: Sequence[Mapping[str, Any]]) -> str | None:
    """Lets NAME:ALIAS mean a version from now on; gives the id of the one that it meant before.

    Args:
        gates: what was judged before, for the log.

    Raises:
        UsageError: [registry/bad-name].
        RegistryError: [registry/not-found] when the version was deleted in the meantime.
    """
    require_alias(alias)
    with writing(registry.engine) as connection:
        require_ready(connection, version.id)
        before = _meant(connection, version.name, alias)
        if before != version.id:
            _move(connection, Alias(version.name, alias, version.id), PROMOTE, before=before, gates=gates)
        return before


def earlier(registry: Registry, name: str, alias: str) -> str:
    """The id of the version that NAME:ALIAS meant before.

    Raises:
        RegistryError: [registry/nothing-before]; [registry/not-found] when that version was deleted.
    """
    with reading(registry.engine) as connection:
        return _earlier(connection, name, alias)[0]


def roll_back(registry: Registry, name: str, alias: str, *, to: str) -> str:
    """Lets NAME:ALIAS mean again what it meant before; gives the id of the version that it meant until now.

    Args:
        to: the id of the earlier version, as `earlier` gave it.

    Raises:
        RegistryError: [registry/nothing-before]; [registry/not-found] when the earlier version was deleted;
            [registry/moved] when the alias was moved in the meantime.
    """
    with writing(registry.engine) as connection:
        before, now = _earlier(connection, name, alias)
        if before != to:
            raise RegistryError(
                "registry/moved", f"{name}:{alias} was moved in the meantime", hint="look at it, then try again"
            )
        _move(connection, Alias(name, alias, before), ROLL_BACK, before=now, gates=())
        return now


def ever_meant(connection: Connection) -> set[str]:
    """Ids of all versions that aliases mean or can be rolled back to."""
    places = connection.execute(select(LOG.c.name, LOG.c.alias).distinct()).all()
    found = set(connection.scalars(select(ALIASES.c.version)))
    for place in places:
        found |= set(_history(connection, place.name, place.alias))
    return found


def log(registry: Registry) -> list[dict[str, Any]]:
    """What was promoted and rolled back, oldest first: time, action, name, alias, version, before, gates.

    Raises:
        DamagedStoreError: [storage/damaged] when an entry is not what it was, or one is missing.
    """
    with reading(registry.engine) as connection:
        rows, seal = connection.execute(select(LOG).order_by(LOG.c.id)).all(), ""
    for row in rows:
        seal = canonical_sha256([seal, row.entry])
        if row.seal != seal:
            raise damaged(f"entry {row.id} of the log of promotions, or one before it, was changed")
    return [json.loads(row.entry) for row in rows]


def _earlier(connection: Connection, name: str, alias: str) -> tuple[str, str]:
    """Ids of the versions that an alias meant before and means now."""
    now, meant = _meant(connection, name, alias), _history(connection, name, alias)
    if now is None or len(meant) < 2:
        raise RegistryError(
            "registry/nothing-before",
            f"{name}:{alias} has never meant another version" if now else f"there is no {name}:{alias}",
            hint="list versions and aliases with `burnish models list`",
        )
    require_ready(connection, meant[-2])
    return meant[-2], now


def _meant(connection: Connection, name: str, alias: str) -> str | None:
    query = select(ALIASES).where(ALIASES.c.name == name, ALIASES.c.alias == alias)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _alias_of(row).version


def _alias_of(row: RowMapping) -> Alias:
    alias = Alias(row["name"], row["alias"], row["version"])
    if row["seal"] != _seal(alias):
        raise damaged(f"the alias {alias.name}:{alias.alias} was changed")
    return alias


def _seal(alias: Alias) -> str:
    return canonical_sha256([alias.name, alias.alias, alias.version])


def _history(connection: Connection, name: str, alias: str) -> list[str]:
    """The versions an alias meant, oldest first, without those that were rolled back."""
    query = select(LOG.c.entry).where(LOG.c.name == name, LOG.c.alias == alias).order_by(LOG.c.id)
    meant: list[str] = []
    for text in connection.scalars(query):
        entry = json.loads(text)
        if entry["action"] == ROLL_BACK:
            meant.pop()
        else:
            meant.append(entry["version"])
    return meant


def _move(connection: Connection, alias: Alias, action: str, **entry: Any) -> None:
    """The alias and the entry of the log that says so, whose seal covers all entries before it."""
    connection.execute(delete(ALIASES).where(ALIASES.c.name == alias.name, ALIASES.c.alias == alias.alias))
    values = {"name": alias.name, "alias": alias.alias}
    connection.execute(insert(ALIASES).values(**values, version=alias.version, seal=_seal(alias)))
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = canonical_json({"time": time, "action": action, **values, "version": alias.version, **entry})
    before = connection.scalar(select(LOG.c.seal).order_by(LOG.c.id.desc()).limit(1)) or ""
    connection.execute(insert(LOG).values(**values, entry=text, seal=canonical_sha256([before, text])))
