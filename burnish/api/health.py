"""/health, /ready and /metrics, the OpenAPI document, and whose key this is."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from burnish import __version__
from burnish.api.metrics import Metrics
from burnish.api.routing import ADMIN, ANY, OPEN, At, By, allow, router
from burnish.registry.database import reading
from burnish.registry.tables import STATE

ROUTER = router()


@ROUTER.get("/health")
@allow(OPEN, seconds=10)
async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@ROUTER.get("/ready")
@allow(OPEN, seconds=10)
def ready(request: Request, service: At) -> Response:
    """It takes requests: its database answers and it is not about to stop."""
    if request.app.state.rules.draining:
        return JSONResponse({"status": "stopping"}, 503, {"retry-after": "5"})
    with reading(service.registry.engine) as connection:
        connection.execute(select(STATE.c.writes))
    return JSONResponse({"status": "ready"})


@ROUTER.get("/metrics", response_class=PlainTextResponse)
@allow(ADMIN, seconds=10)
def metrics(request: Request) -> PlainTextResponse:
    found: Metrics = request.app.state.metrics
    return PlainTextResponse(found.text(), media_type="text/plain; version=0.0.4")


@ROUTER.get("/v1/burnish/whoami")
@allow(ANY)
async def whoami(caller: By) -> dict[str, Any]:
    """What the key of the request may do."""
    return {"key": caller.key_id, "project": caller.project, "role": caller.role, "version": __version__}


@ROUTER.get("/openapi.json")
@allow(ANY)
def openapi(request: Request) -> dict[str, Any]:
    app: FastAPI = request.app
    return app.openapi()


def of_the_process(started: float) -> list[tuple[str, dict[str, str], float]]:
    """Figures of this process."""
    import psutil

    memory = psutil.Process().memory_info().rss
    return [
        ("burnish_uptime_seconds", {}, time.time() - started),
        ("burnish_resident_bytes", {}, float(memory)),
        ("burnish_build_info", {"version": __version__}, 1.0),
    ]
