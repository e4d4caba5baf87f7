"""/v1/models: the bases of this server, and the tuned models and checkpoints of a project."""

from __future__ import annotations

import importlib.util
from typing import Any

from burnish.api.asked import Models
from burnish.api.fine_tuning import organization
from burnish.api.routing import ANY, WRITE, At, By, allow, router
from burnish.errors import ServiceError
from burnish.lifecycle.service import Service
from burnish.model.catalogue import CATALOGUE
from burnish.registry.served import Served, delete_served, find_served, list_served

ROUTER = router()


@ROUTER.get("/v1/models")
@allow(ANY)
def list_(caller: By, service: At) -> dict[str, Any]:
    tuned = [_tuned(each) for each in list_served(service.registry, caller.project)]
    return {"object": "list", "data": [*bases(service).values(), *tuned], "has_more": False}


@ROUTER.get("/v1/models/{model:path}")
@allow(ANY)
def retrieve(model: str, caller: By, service: At) -> dict[str, Any]:
    base = bases(service).get(model)
    return base if base is not None else _tuned(find_served(service.registry, model, caller.project))


@ROUTER.delete("/v1/models/{model:path}")
@allow(WRITE)
def delete(model: str, caller: By, service: At, inference: Models) -> dict[str, Any]:
    if model in bases(service):
        raise ServiceError(
            "models/base",
            "a base belongs to the server; only tuned models can be deleted",
            status=403,
            param="model",
            kind="model_not_deletable",
        )
    version = find_served(service.registry, model, caller.project).version
    delete_served(service.registry, model, caller.project)
    inference.forget(model)
    inference.unload(version)
    return {"id": model, "object": "model", "deleted": True}


def bases(service: Service) -> dict[str, dict[str, Any]]:
    """What every project may train and use, by name."""
    found: dict[str, dict[str, Any]] = {}
    for name, folder in service.bases.items():
        found[name] = _base(name, int(folder.stat().st_mtime) if folder.is_dir() else 0)
    for entry in CATALOGUE.values():
        if importlib.util.find_spec(entry.package) is not None:
            found.setdefault(entry.alias, _base(entry.alias, 0))
    for alias, base in service.aliases.items():
        shown = found.get(base, _base(base, 0))
        found[alias] = {**shown, "id": alias, "burnish": {"kind": "base", "alias_of": base}}
    return found


def _base(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "burnish", "burnish": {"kind": "base"}}


def _tuned(served: Served) -> dict[str, Any]:
    return {
        "id": served.name,
        "object": "model",
        "created": int(served.created),
        "owned_by": organization(served.project),
        "burnish": {"kind": "tuned", "task": served.task, "version": served.version, "job": served.job},
    }
