"""Who may use a route: it names the roles, or it cannot be added; nobody else gets as far as having a body read.

@router.get("/v1/files")
@allow(READ)
async def list_(caller: By, service: At) -> ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from burnish.api.access import Caller
from burnish.api.limits import MAX_JSON_BYTES, paced, parsed
from burnish.errors import ServiceError
from burnish.lifecycle.service import Service

OPEN = frozenset({"admin", "writer", "reader", "inference", "nobody"})  # also without a key
ANY = OPEN - {"nobody"}
INFER = frozenset({"admin", "writer", "inference"})
READ = frozenset({"admin", "writer", "reader"})
WRITE = frozenset({"admin", "writer"})
ADMIN = frozenset({"admin"})

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a route says of itself."""

    roles: frozenset[str]
    seconds: float | None  # until its answer begins
    own_limits: bool  # it reads its body as a stream and holds it to limits of its own
    changes: bool  # a request may change something: it has an entry in the log


def allow(
    roles: frozenset[str], *, seconds: float | None = 120, own_limits: bool = False, changes: bool = True
) -> Callable[[Endpoint], Endpoint]:
    """Names the roles that may use a route.

    Args:
        seconds: until its answer begins; None: it sees to that itself.
        own_limits: for a route that streams its body to the disk.
        changes: False for questions to models, which are sent with POST and change nothing. Those that are refused
            for want of a right have their entry in the log all the same.
    """

    def declared(endpoint: Endpoint) -> Endpoint:
        endpoint.allowed = Allowed(roles, seconds, own_limits, changes)  # type: ignore[attr-defined]
        return endpoint

    return declared


class GuardedRoute(APIRoute):
    """A route that knows who may use it, and refuses everybody else before it reads anything."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        allowed = getattr(endpoint, "allowed", None)
        if not isinstance(allowed, Allowed):
            raise TypeError(f"the route {path} does not say who may use it: put @allow(...) under @router...")
        self.allowed = allowed
        more["openapi_extra"] = {"x-roles": sorted(allowed.roles), **(more.get("openapi_extra") or {})}
        super().__init__(path, endpoint, **more)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def careful(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            is_json = kind == "application/json" or kind.endswith("+json")
            if self.body_field is not None and is_json and (body := await request.body()):
                request._json = await parsed(body)  # where request.json() keeps what it has parsed
            return await handler(request)

        return careful

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["state"]["caller"]
        scope["state"]["allowed"] = self.allowed
        scope["state"]["route"] = self.path
        if caller.role not in self.allowed.roles:
            raise ServiceError(
                "access/role",
                f'a key with the role "{caller.role}" may not do this',
                status=403,
                kind="insufficient_permissions",
                hint=f"it needs one of these roles: {', '.join(sorted(self.allowed.roles - {'nobody'}))}",
            )
        receive = paced(receive, None if self.allowed.own_limits else MAX_JSON_BYTES)
        if self.allowed.seconds is None:
            await super().handle(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.allowed.seconds) as deadline:

                async def begun(message: Message) -> None:
                    deadline.reschedule(None)
                    await send(message)

                await super().handle(scope, receive, begun)
        except TimeoutError as error:
            raise ServiceError(
                "access/timeout",
                f"no answer within {self.allowed.seconds:g} seconds",
                status=504,
                kind="timeout",
                retry_after_seconds=10,
            ) from error


def router() -> APIRouter:
    """A router whose routes cannot be added without their roles."""
    return APIRouter(route_class=GuardedRoute)


def require_guarded(app: FastAPI) -> None:
    """Raises TypeError when anything can be reached that is not a route with roles."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, GuardedRoute):
            raise TypeError(f"the route {getattr(route, 'path', route)} does not say who may use it")


async def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


By = Annotated[Caller, Depends(caller_of)]
At = Annotated[Service, Depends(service_of)]
