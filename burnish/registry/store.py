"""The registry: data sets, bases, runs, checkpoints and models as versions that never change, each under its sha256.

The same content is the same version. Its row is there before its files are, and goes together with them, so that
whatever dies in between is finished or swept away later: nothing is lost, nothing is half there.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update

from burnish.errors import DamagedStoreError, RegistryError, RunError, nearest
from burnish.registry.database import open_database, reading, writing
from burnish.registry.service_tables import SERVED
from burnish.registry.tables import ALIASES, DOOMED, PARENTS, PENDING, READY, VERSIONS
from burnish.registry.version import (
    COLUMNS,
    KINDS,
    SHOWN,
    Kind,
    NewVersion,
    Version,
    damage_of_version,
    damaged,
    listed,
    require_name,
    version_of,
)
from burnish.settings import settings
from burnish.storage.durable import damage_of
from burnish.storage.fingerprint import file_sha256
from burnish.storage.version_store import VersionStore, open_version_store

CHAMPION, CANDIDATE = "champion", "candidate"  # what is in use, what awaits its tests
FEWEST_DIGITS = 6  # of an id that a person types


def open_registry(home: Path | None = None) -> Registry:
    """The registry that the settings name, or that of another home."""
    chosen = settings()
    if home is not None:
        return Registry(open_database(home, None), open_version_store(home, None), _files(home, None))
    url = chosen.database_url.get_secret_value() if chosen.database_url else None
    place = chosen.expanded_home()
    store = open_version_store(place, chosen.storage_url)
    return Registry(open_database(place, url), store, _files(place, chosen.storage_url))


@dataclass(frozen=True, slots=True)
class SentFiles:
    """Where the files lie that were sent to the service."""

    store: VersionStore
    incoming: Path  # folder of those that are not whole yet


def _files(home: Path, url: str | None) -> SentFiles:
    place = home / "service"
    return SentFiles(open_version_store(place, url, folder="files"), place / "incoming")


class Registry:
    """Versions in a database and their files in a store; safe for any number of processes at once."""

    def __init__(self, engine: Engine, store: VersionStore, files: SentFiles | None = None) -> None:
        self.engine = engine
        self.store = store
        self._files = files

    @property
    def files(self) -> SentFiles:
        """The files that were sent to the service."""
        assert self._files is not None, "a registry without a service"
        return self._files

    def put(self, new: NewVersion) -> Version:
        """Stores a version, or gives the one that is stored already.

        Raises:
            UsageError: [registry/bad-name].
            RegistryError: [registry/not-found] for a parent that is not there.
            RunError: [run/changed] when a file changes while it is stored.
        """
        require_name(new.name)
        size = sum(path.stat().st_size for path in new.files.values())
        files = {name: file_sha256(path) for name, path in new.files.items()}
        content = new.content(files)
        version = hashlib.sha256(content.encode()).hexdigest()
        if not self._begin(version, content, new, size):
            if new.files:
                self._store_files(version, new.files, files)
            self._finish(version, new)
        return self.get(version)

    def _begin(self, version: str, content: str, new: NewVersion, size: int) -> bool:
        """Notes that a version is being stored; True when it is there already."""
        self.sweep([version])
        now = {"touched": time.time(), "place": new.place}
        with writing(self.engine) as connection:
            state = connection.scalar(select(VERSIONS.c.state).where(VERSIONS.c.id == version))
            if state is not None:
                connection.execute(update(VERSIONS).where(VERSIONS.c.id == version).values(**now))
                return bool(state == READY)
            row = {"id": version, "content": content, "kind": new.kind, "name": new.name, "state": PENDING, **now}
            searched = {name: new.search.get(name) for name in COLUMNS}
            connection.execute(insert(VERSIONS).values(**row, created=_now(), size_bytes=size, **searched))
            for role, parent in new.parents.items():
                require_ready(connection, parent)
                connection.execute(insert(PARENTS).values(child=version, role=role, parent=parent))
        return False

    def _store_files(self, version: str, files: Mapping[str, Path], sha256: Mapping[str, str]) -> None:
        try:
            if damage_of(self.store.folder(version)):  # what an attempt left that died
                self.store.remove(version)
        except DamagedStoreError:  # it is not there, as it should
            pass
        self.store.publish(version, files)
        if listed(self.store.folder(version)) != sha256:
            self.store.remove(version)
            raise RunError(
                "run/changed",
                "its files changed while they were stored",
                where=str(next(iter(files.values())).parent),
                hint="try again when nothing else works on the run",
            )

    def _finish(self, version: str, new: NewVersion) -> None:
        with writing(self.engine) as connection:
            number = None
            if new.kind == "model":
                same = (VERSIONS.c.kind == new.kind) & (VERSIONS.c.name == new.name)
                number = (connection.scalar(select(func.max(VERSIONS.c.number)).where(same)) or 0) + 1
            waiting = (VERSIONS.c.id == version) & (VERSIONS.c.state == PENDING)
            done = connection.execute(update(VERSIONS).where(waiting).values(state=READY, number=number))
            if done.rowcount == 0:  # another process stored the same and was first, or it was taken away
                require_ready(connection, version)

    def get(self, version: str) -> Version:
        """A version by its whole id.

        Raises:
            RegistryError: [registry/not-found].
            DamagedStoreError: [storage/damaged] when its entry is not what its id promises.
        """
        with reading(self.engine) as connection:
            query = select(VERSIONS).where(VERSIONS.c.id == version, VERSIONS.c.state == READY)
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                raise _not_found(version[:SHOWN], [])
            aliases = connection.scalars(select(ALIASES.c.alias).where(ALIASES.c.version == version))
            return version_of(row, sorted(aliases))

    def find(self, name: str, kinds: Sequence[Kind] = KINDS) -> Version:
        """The version a person means: NAME:ALIAS, NAME:NUMBER, the unique beginning of an id (six digits or more), an
        alias that only one name has, a name, which stands for its champion, or a run's id.

        Raises:
            RegistryError: [registry/not-found], [registry/ambiguous].
            DamagedStoreError: [storage/damaged].
        """
        with reading(self.engine) as connection:
            matches = _matches(connection, name, kinds)
            known = [] if matches else _labels(connection)
        if len(matches) > 1:
            labels = [self.get(each).label for each in matches[:10]]
            raise RegistryError("registry/ambiguous", f'"{name}" can be {len(matches)} versions', known=labels)
        if not matches:
            raise _not_found(name, known)
        return self.get(matches[0])

    def versions(self, kind: Kind, *, limit: int | None = None, **wanted: str | None) -> list[Version]:
        """Versions of a kind, newest first.

        Args:
            limit: this many at most.
            wanted: column -> the value it must have: name, task, method, base, status, answer; None: any.
        """
        query = select(VERSIONS).where(VERSIONS.c.kind == kind, VERSIONS.c.state == READY)
        for column, value in wanted.items():
            if value is not None:
                query = query.where(VERSIONS.c[column] == value)
        query = query.order_by(VERSIONS.c.created.desc(), VERSIONS.c.touched.desc()).limit(limit)
        meaning: dict[str, list[str]] = {}
        with reading(self.engine) as connection:
            for alias in connection.execute(select(ALIASES).order_by(ALIASES.c.alias)):
                meaning.setdefault(alias.version, []).append(alias.alias)
            rows = connection.execute(query).mappings().all()
        return [version_of(row, meaning.get(row["id"], ())) for row in rows]

    def rows(self, kind: Kind, **wanted: str | None) -> Iterator[RowMapping]:
        """What the columns say of versions of a kind, newest first: for lists, which are quick and verify nothing.

        Args:
            wanted: as for `versions`; `base` is looked for in the name of the base.
        """
        columns = [column for column in VERSIONS.c if column.name != "content"]
        query = select(*columns).where(VERSIONS.c.kind == kind, VERSIONS.c.state == READY)
        for column, value in wanted.items():
            if value is not None:
                searched = VERSIONS.c[column]
                query = query.where(
                    searched.icontains(value, autoescape=True) if column == "base" else searched == value
                )
        with reading(self.engine) as connection:
            yield from connection.execute(
                query.order_by(VERSIONS.c.created.desc(), VERSIONS.c.touched.desc())
            ).mappings()

    def children(self, version: str) -> Sequence[str]:
        """Ids of the versions that came from a version."""
        with reading(self.engine) as connection:
            return connection.scalars(select(PARENTS.c.child).where(PARENTS.c.parent == version).distinct()).all()

    def lineage(self, version: Version) -> Iterator[tuple[int, str, Version]]:
        """What a version came from, as (generation, role, version), each branch to its end; a version once."""
        waiting = [(1, role, parent) for role, parent in sorted(version.parents.items(), reverse=True)]
        seen: set[str] = set()
        while waiting:
            generation, role, parent = waiting.pop()
            if parent in seen:
                continue
            seen.add(parent)
            found = self.get(parent)
            yield generation, role, found
            waiting += [(generation + 1, *each) for each in sorted(found.parents.items(), reverse=True)]

    def folder(self, version: Version) -> Path:
        """A local folder with the files of a version, every byte of them verified.

        Raises:
            DamagedStoreError: [storage/damaged] naming the file.
        """
        folder = self.store.folder(version.id)
        damage = damage_of_version(folder, version)
        if damage:
            raise damaged(f"version {version.label} is not what was stored: {damage}", str(folder))
        return folder

    def delete(self, version: Version) -> None:
        """Deletes a version that nobody needs.

        Raises:
            RegistryError: [registry/needed] naming the aliases and versions that need it.
        """
        with writing(self.engine) as connection:
            meant = connection.execute(select(ALIASES).where(ALIASES.c.version == version.id)).all()
            children = connection.scalars(select(PARENTS.c.child).where(PARENTS.c.parent == version.id).distinct())
            served = (SERVED.c.version == version.id) & SERVED.c.deleted.is_(None)
            needs = [f"{row.name}:{row.alias}" for row in meant] + [f"version {child[:SHOWN]}" for child in children]
            needs += [f"{name}, which is served" for name in connection.scalars(select(SERVED.c.name).where(served))]
            if needs:
                raise RegistryError(
                    "registry/needed",
                    f"{version.label} is needed",
                    known=needs[:10],
                    hint="let the alias mean another version first; what came from a version needs it as its lineage",
                )
            doom(connection, [version.id])
        self.sweep([version.id])

    def sweep(self, versions: Sequence[str] | None = None) -> Sequence[str]:
        """Takes away the files and entries of versions that are being deleted; gives their ids.

        Args:
            versions: of these; None: of all.
        """
        query = select(VERSIONS.c.id).where(VERSIONS.c.state == DOOMED)
        query = query if versions is None else query.where(VERSIONS.c.id.in_(versions))
        with reading(self.engine) as connection:
            doomed = connection.scalars(query).all()
        for version in doomed:
            with writing(self.engine) as connection:  # nobody can store it anew while its files go
                if connection.scalar(query.where(VERSIONS.c.id == version)) is not None:
                    self.store.remove(version)
                    connection.execute(delete(SERVED).where(SERVED.c.version == version))  # names that were given up
                    connection.execute(delete(VERSIONS).where(VERSIONS.c.id == version))
        return doomed


def doom(connection: Connection, versions: Sequence[str]) -> None:
    """Marks versions to be taken away: from here on nobody finds them, and they need nothing any more."""
    connection.execute(delete(PARENTS).where(PARENTS.c.child.in_(versions)))
    connection.execute(update(VERSIONS).where(VERSIONS.c.id.in_(versions)).values(state=DOOMED))


def require_ready(connection: Connection, version: str) -> None:
    """Raises RegistryError [registry/not-found] for a version that is not stored, or was deleted in the meantime."""
    if connection.scalar(select(VERSIONS.c.state).where(VERSIONS.c.id == version)) != READY:
        raise _not_found(version[:SHOWN], [])


def _matches(connection: Connection, name: str, kinds: Sequence[Kind]) -> Sequence[str]:
    """Ids of the versions that a word can mean, by the first reading that finds any."""
    ready = select(VERSIONS.c.id).where(VERSIONS.c.state == READY, VERSIONS.c.kind.in_(kinds))
    meant = select(ALIASES.c.version).join(VERSIONS).where(VERSIONS.c.kind.in_(kinds))
    model, separator, which = name.partition(":")
    if separator and which.isdecimal():
        return connection.scalars(ready.where(VERSIONS.c.name == model, VERSIONS.c.number == int(which))).all()
    if separator:
        return connection.scalars(meant.where(ALIASES.c.name == model, ALIASES.c.alias == which)).all()
    readings = [
        meant.where(ALIASES.c.alias == name),
        meant.where(ALIASES.c.name == name, ALIASES.c.alias == CHAMPION),
        ready.where(VERSIONS.c.kind == "run", VERSIONS.c.name == name).order_by(VERSIONS.c.touched.desc()).limit(1),
    ]
    if re.fullmatch(rf"[0-9a-f]{{{FEWEST_DIGITS},64}}", name):
        readings.append(ready.where(VERSIONS.c.id.startswith(name)))
    for reading_ in readings:
        if found := connection.scalars(reading_).all():
            return found
    return ()


def _labels(connection: Connection) -> list[str]:
    """What models can be called, for people who mistyped one."""
    models = select(VERSIONS.c.name, VERSIONS.c.number).where(VERSIONS.c.kind == "model", VERSIONS.c.state == READY)
    newest = connection.execute(models.order_by(VERSIONS.c.touched.desc()).limit(20))
    aliases = connection.execute(select(ALIASES).limit(20))
    return [f"{row.name}:{row.alias}" for row in aliases] + [f"{row.name}:{row.number}" for row in newest]


def _not_found(name: str, known: Sequence[str]) -> RegistryError:
    close = nearest(name, known)
    return RegistryError(
        "registry/not-found",
        f'there is no version "{name}"',
        known=known[:10],
        hint=f'did you mean "{close}"?' if close else "list them with `burnish models list`",
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
