"""Names that models are served by: each means a version in the registry, for one project."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, insert, select, update

from burnish.errors import ServiceError
from burnish.registry.database import reading, writing
from burnish.registry.queue import live_job_of_model
from burnish.registry.service_tables import SERVED
from burnish.registry.store import Registry, require_ready


@dataclass(frozen=True, slots=True)
class Served:
    """One name.

    Attributes:
        name: e.g. "ft:tiny:local:tickets:a1B2c3D4"; never taken apart.
        version: id in the registry.
        task: what the model was trained for, e.g. "chat".
        job: that made it, None for a model that was put there by hand.
        created: seconds since the epoch.
    """

    name: str
    project: str
    version: str
    task: str
    job: str | None
    created: float


def serve_version(registry: Registry, name: str, project: str, version: str, *, job: str | None, task: str) -> None:
    """Lets a name mean a version. The same again changes nothing."""
    with writing(registry.engine) as connection:
        add_served(connection, name, project, version, job=job, task=task)


def add_served(connection: Connection, name: str, project: str, version: str, *, job: str | None, task: str) -> None:
    """The same within a transaction.

    Raises:
        ServiceError: [models/name-taken], 409, when the name means something else.
        RegistryError: [registry/not-found] when the version was deleted in the meantime.
    """
    require_ready(connection, version)
    found = connection.execute(select(SERVED).where(SERVED.c.name == name)).mappings().one_or_none()
    if found is None:
        row = {"name": name, "project": project, "version": version, "job": job, "task": task}
        connection.execute(insert(SERVED).values(**row, created=time.time()))
    elif (found["project"], found["version"]) != (project, version) or found["deleted"] is not None:
        raise ServiceError("models/name-taken", f"There is another model called {name}.", status=409, param="model")


def find_served(registry: Registry, name: str, project: str) -> Served:
    """What a name means to a project.

    Raises:
        ServiceError: [models/not-found], 404, also for a model of another project or one that was deleted.
    """
    query = select(SERVED).where(SERVED.c.name == name, SERVED.c.project == project, SERVED.c.deleted.is_(None))
    with reading(registry.engine) as connection:
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise not_found(name)
    return _served(row)


def require_served(connection: Connection, name: str, project: str) -> None:
    """Raises ServiceError [models/not-found], 404, unless a name means a model, within a transaction that writes."""
    known = SERVED.c.name == name, SERVED.c.project == project, SERVED.c.deleted.is_(None)
    if connection.scalar(select(SERVED.c.name).where(*known)) is None:
        raise not_found(name)


def list_served(registry: Registry, project: str) -> list[Served]:
    """All names of a project, the newest first."""
    query = select(SERVED).where(SERVED.c.project == project, SERVED.c.deleted.is_(None))
    with reading(registry.engine) as connection:
        return [_served(row) for row in connection.execute(query.order_by(SERVED.c.created.desc())).mappings()]


def is_served(registry: Registry, version: str) -> bool:
    """Whether any name of any project means a version."""
    query = select(SERVED.c.name).where(SERVED.c.version == version, SERVED.c.deleted.is_(None)).limit(1)
    with reading(registry.engine) as connection:
        return connection.scalar(query) is not None


def delete_served(registry: Registry, name: str, project: str) -> None:
    """Lets a name mean nothing any more. It is not given to another model; the version stays in the registry.

    Raises:
        ServiceError: [models/not-found], 404; [models/in-use], 409, while a job starts from it.
    """
    with writing(registry.engine) as connection:
        if job := live_job_of_model(connection, project, name):
            raise ServiceError(
                "models/in-use",
                f"The job {job}, which has not ended, starts from this model.",
                status=409,
                param="model",
                kind="model_in_use",
                hint="cancel the job, or wait until it has ended",
            )
        known = SERVED.c.name == name, SERVED.c.project == project, SERVED.c.deleted.is_(None)
        done = connection.execute(update(SERVED).where(*known).values(deleted=time.time()))
        if done.rowcount == 0:
            raise not_found(name)


def not_found(name: str) -> ServiceError:
    """The refusal of a name that means no model."""
    return ServiceError(
        "models/not-found",
        f"The model '{name[:120]}' does not exist or you do not have access to it.",
        status=404,
        param="model",
        kind="model_not_found",
    )


def _served(row: RowMapping) -> Served:
    return Served(row["name"], row["project"], row["version"], row["task"], row["job"], row["created"])
