"""The registry's database: SQLite in burnish's home, or PostgreSQL by URL; opened, brought up to date, written to."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from burnish.errors import BurnishError, DamagedStoreError, RegistryError, UsageError
from burnish.registry.runs import REGISTRY
from burnish.registry.tables import STATE
from burnish.storage.durable import explained, make_folder
from burnish.storage.lock import waited

HEAD = "0002"  # the newest step in migrations/versions
PATIENCE_SECONDS = 60  # that a writer waits for another one
_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_KEY = 0x6275726E  # of PostgreSQL's advisory lock while the tables are changed
DRIVERS = {"postgresql": "pg8000"}  # of a URL that names none
_AWAY = ("connect", "database system is")  # "... starting up", "... shutting down"
_DAMAGED = ("malformed", "not a database", "disk image", "corrupt")


@lru_cache(maxsize=8)
def open_database(home: Path, url: str | None) -> Engine:
    """The database of a home, with the newest tables.

    Args:
        home: where registry.db lies when no URL is given.
        url: "postgresql://user:password@host/name", or "sqlite:///path".

    Raises:
        UsageError: [registry/bad-url], [registry/needs-package].
        RegistryError: [registry/unreachable], [registry/newer-format].
        DamagedStoreError: [storage/damaged] for a file that is no database.
    """
    place = _place(home, url)
    if place.get_backend_name() == "sqlite" and place.database:
        make_folder(Path(place.database).parent)
    if place.get_backend_name() == "sqlite":
        engine = create_engine(place, connect_args={"timeout": PATIENCE_SECONDS}, poolclass=NullPool)
        event.listen(engine, "connect", _durable_sqlite)
    else:
        engine = create_engine(place, pool_pre_ping=True)
    with told(engine):
        _bring_up_to_date(engine)
    return engine


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection to read with."""
    with told(engine), engine.connect() as connection:
        yield connection


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that is the only writer; all of it is stored at the end of the block, or nothing."""
    with told(engine), engine.begin() as connection:
        connection.execute(update(STATE).values(writes=STATE.c.writes + 1))
        yield connection


def clock(connection: Connection) -> float:
    """Seconds since the epoch by the one clock that all who share a database have: that of its server; with SQLite that
    of the machine, on which they all are."""
    if connection.dialect.name != "postgresql":
        return time.time()
    return float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")))


@contextlib.contextmanager
def told(engine: Engine) -> Iterator[None]:
    """Turns what a database says into one clear error."""
    where = engine.url.render_as_string(hide_password=True)
    try:
        with explained(Path(engine.url.database or REGISTRY), 0):
            yield
    except BurnishError:
        raise
    except DatabaseError as error:
        reason = str(error.orig).splitlines()[0] if error.orig else str(error)
        if any(word in reason for word in _DAMAGED):
            hint = "restore it from a copy made by `burnish backup`"
            raise DamagedStoreError("storage/damaged", f"the registry: {reason}", where=where, hint=hint) from error
        if isinstance(error, OperationalError) or any(word in reason.lower() for word in _AWAY):
            raise RegistryError(
                "registry/unreachable",
                f"the database does not answer: {reason}",
                where=where,
                hint="check BURNISH_DATABASE_URL, or wait for another process that writes",
            ) from error
        raise
    except SQLAlchemyError as error:
        raise RegistryError("registry/unreachable", f"the database does not answer: {error}", where=where) from error


def _place(home: Path, url: str | None) -> URL:
    if url is None:
        return URL.create("sqlite", database=str(home / REGISTRY))
    try:
        place = make_url(url)
    except ArgumentError as error:
        raise UsageError(
            "registry/bad-url",
            "is no URL of a database",
            where="BURNISH_DATABASE_URL",
            hint="e.g. postgresql://user:password@host:5432/burnish",
        ) from error
    if place.get_backend_name() not in ("sqlite", *DRIVERS):
        raise UsageError(
            "registry/bad-url",
            f'there is no registry in "{place.get_backend_name()}"',
            where="BURNISH_DATABASE_URL",
            known=["sqlite", *DRIVERS],
        )
    if place.get_backend_name() in DRIVERS and "+" not in place.drivername:
        place = place.set(drivername=f"{place.get_backend_name()}+{DRIVERS[place.get_backend_name()]}")
    driver = place.drivername.partition("+")[2]
    if driver and importlib.util.find_spec(driver) is None:
        raise UsageError(
            "registry/needs-package",
            f"the package {driver} is not installed",
            where="BURNISH_DATABASE_URL",
            hint="pip install 'burnish[postgresql]'",
        )
    return place


def _durable_sqlite(connection: Any, _: object) -> None:
    """What is committed survives a loss of power, and no row points at one that is gone."""
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _bring_up_to_date(engine: Engine) -> None:
    """Makes the tables, or takes the steps that are missing; nothing is imported where there are none."""
    if _revision(engine) == HEAD:
        return
    with _alone(engine) as connection:
        found = _revision(engine)
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise RegistryError(
                "registry/newer-format",
                f"the registry has format {found}, this burnish reads up to {HEAD}",
                where=engine.url.render_as_string(hide_password=True),
                hint="use the burnish that made it, or a newer one",
            )
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)


@contextlib.contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction while no other process changes the tables."""
    if engine.url.get_backend_name() == "sqlite":
        with waited(Path(str(engine.url.database)).parent, PATIENCE_SECONDS):
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # readers go on while one writes; stays so
            with engine.begin() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # sqlite3 begins none before tables are made
                yield connection
        return
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        yield connection
