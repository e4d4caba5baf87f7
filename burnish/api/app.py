"""The application: every route of the service behind one door."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from burnish import __version__
from burnish.api import (
    chat,
    completions,
    embeddings,
    files,
    fine_tuning,
    health,
    models,
    own,
    predict,
    responses,
    uploads,
)
from burnish.api.access import KeyRing
from burnish.api.errors import protocol_error
from burnish.api.front import Front, Rules
from burnish.api.limits import Meter
from burnish.api.metrics import Metrics
from burnish.api.routing import GuardedRoute, require_guarded
from burnish.errors import BurnishError
from burnish.lifecycle.inference import Inference
from burnish.lifecycle.job_sweep import sweep_jobs
from burnish.lifecycle.service import Service
from burnish.registry.files import sweep_files
from burnish.registry.log import LogWriter, ServiceLog
from burnish.registry.uploads import sweep_uploads

LOGGER = logging.getLogger("burnish.api")
FLUSH_SECONDS = 1.0
SWEEP_EVERY = 300  # flushes
ANSWERING = (chat.ROUTER, completions.ROUTER, embeddings.ROUTER, responses.ROUTER, predict.ROUTER)
ROUTERS = (  # those first that are asked most
    *ANSWERING,
    health.ROUTER,
    files.ROUTER,
    uploads.ROUTER,
    fine_tuning.ROUTER,
    own.ROUTER,
    models.ROUTER,
)
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def make_app(service: Service, *, rules: Rules | None = None, open_without_keys: bool = True) -> FastAPI:
    """The service as an ASGI application.

    Args:
        rules: names, proxies; by default only names of this machine.
        open_without_keys: whoever reaches it is its admin as long as no key was ever made; for loopback only.

    Raises:
        TypeError: for a route that does not say who may use it.
    """
    app = FastAPI(
        title="burnish",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    for each in ROUTERS:
        app.router.routes.extend(each.routes)  # as they are: an included router is searched twice for each request
    require_guarded(app)
    rules = rules or Rules()
    rules.open_paths = _open_paths(app)
    state = app.state
    state.service, state.rules, state.metrics = service, rules, Metrics()
    state.meter, state.log = Meter(service.registry), LogWriter(ServiceLog(service.registry, service.folder))
    state.inference = Inference(service)
    state.metrics.add_source(state.inference.figures)
    started = time.time()
    state.metrics.add_source(lambda: health.of_the_process(started))
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, protocol_error)
    ring = KeyRing(service, open_without_keys=open_without_keys)
    app.add_middleware(
        Front,
        rules=rules,
        ring=ring,
        meter=state.meter,
        metrics=state.metrics,
        log=state.log,  # the outermost one
    )
    app.openapi = _document(app)  # type: ignore[method-assign]
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Cares for the service while it runs, and ends what it has begun."""
    require_guarded(app)
    caring = asyncio.create_task(_care(app))
    try:
        yield
    finally:
        caring.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caring
        await app.state.inference.drain()
        await run_in_threadpool(app.state.meter.flush)
        await run_in_threadpool(app.state.log.close)


async def _care(app: FastAPI) -> None:
    """Notes use in the database every second, and sweeps what has expired every few minutes."""
    registry = app.state.service.registry
    for count in range(10**12):
        await asyncio.sleep(FLUSH_SECONDS)
        try:
            await run_in_threadpool(app.state.meter.flush)
            if count % SWEEP_EVERY == 0:
                await run_in_threadpool(sweep_uploads, registry)
                await run_in_threadpool(sweep_files, registry)
                await run_in_threadpool(sweep_jobs, app.state.service)
        except BurnishError as error:  # the database or the store is away; the next round tries again
            LOGGER.error("care", extra={"error": str(error)})


def _open_paths(app: FastAPI) -> frozenset[str]:
    routes = (context.original_route for context in iter_route_contexts(app.routes))
    return frozenset(r.path for r in routes if isinstance(r, GuardedRoute) and "nobody" in r.allowed.roles)


def _document(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """The OpenAPI document, with the protocol's error body in place of FastAPI's."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, routes=app.routes)
            made.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR_SCHEMA
            made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            made["security"] = [{"key": []}]
            answer = {
                "description": "A refusal or a failure",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }
            for operations in made["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
                    operation["responses"]["default"] = answer
                    if "nobody" in operation["x-roles"]:
                        operation["security"] = []
            app.openapi_schema = made
        return app.openapi_schema

    return openapi
