"""A name that is served keeps its version; one that was given up does not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from sqlalchemy import update

from burnish.errors import RegistryError, ServiceError
from burnish.registry.collect import collect, garbage
from burnish.registry.database import writing
from burnish.registry.queue import line_up
from burnish.registry.served import delete_served, find_served, serve_version
from burnish.registry.service_tables import JOBS
from burnish.registry.store import Registry
from burnish.registry.version import NewVersion

NAME = "ft:base:local:tickets:abc"
New = Callable[..., NewVersion]


def test_what_is_served_is_no_garbage(registry: Registry, new_model: New) -> None:
    version = registry.put(new_model())
    serve_version(registry, NAME, "shop", version.id, job=None, task="chat")
    assert garbage(registry, older_than_days=0) == []
    with pytest.raises(RegistryError) as refused:
        registry.delete(version)
    assert refused.value.known == (f"{NAME}, which is served",)
    delete_served(registry, NAME, "shop")
    assert collect(registry, older_than_days=0) == [version.id]
    with pytest.raises(ServiceError):
        find_served(registry, NAME, "shop")


def test_a_version_that_is_gone_is_not_served(registry: Registry, new_model: New) -> None:
    version = registry.put(new_model())
    registry.delete(version)
    with pytest.raises(RegistryError):
        serve_version(registry, NAME, "shop", version.id, job=None, task="chat")


def test_a_model_that_a_job_starts_from_stays(registry: Registry, new_model: New) -> None:
    serve_version(registry, NAME, "shop", registry.put(new_model()).id, job=None, task="chat")
    row = {"id": "ftjob-1", "project": "shop", "created": 0.0, "status": "paused", "asked": "{}", "base": "alias"}
    row |= {"chosen": json.dumps({"base": NAME}), "seed": 1, "training_file": "file-0", "priority": 0, "slot": "cpu"}
    with writing(registry.engine) as connection:
        line_up(connection, row, {})
    with pytest.raises(ServiceError) as caught:
        delete_served(registry, NAME, "shop")
    assert (caught.value.status, caught.value.code) == (409, "models/in-use")
    with writing(registry.engine) as connection:
        connection.execute(update(JOBS).values(status="failed"))
    delete_served(registry, NAME, "shop")
