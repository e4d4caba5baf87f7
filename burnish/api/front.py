"""The door of the service: every request passes here first, and every answer last, also those of failures."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from burnish.api.access import LOCAL, NOBODY, Caller, KeyRing, no_key
from burnish.api.errors import answer_for, log_failure
from burnish.api.limits import Meter
from burnish.api.metrics import Metrics
from burnish.api.routing import Allowed
from burnish.errors import ServiceError, excerpt
from burnish.registry.log import LogWriter

LOGGER = logging.getLogger("burnish.api")
FORBIDDEN = 403
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})
AT_ONCE = 1024  # requests
MAX_HEADER_BYTES = 16_384
MAX_PATH_BYTES = 8_192
SLOWEST_READER_SECONDS = 60.0  # that a client may take to accept the next piece of an answer
REFUSED_PER_MINUTE = 600  # entries in the log of requests that had no key; the server's own log has them all
HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(slots=True)
class Rules:
    """Who may talk to this server, besides the keys."""

    names: frozenset[str] = LOCAL_NAMES  # in the Host header; addresses are always taken
    proxies: Sequence[Network] = ()  # whose X-Forwarded-For is believed
    only_proxies: bool = False  # refuse everybody else who is not on this machine
    draining: bool = False  # the server is about to stop
    open_paths: frozenset[str] = frozenset()  # of the routes that need no key
    running: int = 0
    refused: list[float] = field(default_factory=list)  # when requests without a key were logged, of the last minute


class Front:
    """ASGI middleware: names the request, checks host, origin and key, counts, logs, and answers failures."""

    def __init__(
        self, app: ASGIApp, *, rules: Rules, ring: KeyRing, meter: Meter, metrics: Metrics, log: LogWriter | None = None
    ) -> None:
        self.app = app
        self.rules = rules
        self.ring = ring
        self.meter = meter
        self.metrics = metrics
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["state"] = {**scope.get("state", {}), "request_id": f"req_{secrets.token_hex(12)}", "caller": NOBODY}
        answer = _Answer(self, scope, send)
        self.rules.running += 1
        try:
            await self._admit(scope, receive, answer)
        except ClientDisconnect:
            answer.status = answer.status or 499
        except Exception as error:
            if answer.status:  # it has begun: all that is left is to cut the connection
                raise
            body = answer_for(error)
            log_failure(error, body.status_code, scope["state"]["request_id"])
            await body(scope, receive, answer)
        finally:
            self.rules.running -= 1
            self._count(scope, answer)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, state = Headers(scope=scope), scope["state"]
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            text = f"the headers have more than {MAX_HEADER_BYTES:,} bytes"
            raise ServiceError("limits/headers", text, status=431, kind="headers_too_large")
        state["ip"] = self._address(scope, headers)
        self._require_host(headers)
        self._require_readable(scope)
        path = scope["path"]
        if path not in self.rules.open_paths:
            if self.rules.draining:
                raise ServiceError(
                    "server/stopping", "the server is stopping", status=503, kind="stopping", retry_after_seconds=5
                )
            if self.rules.running > AT_ONCE:
                raise ServiceError(
                    "server/busy", "the server has too many requests", status=503, kind="busy", retry_after_seconds=2
                )
        if scope["method"] not in SAFE_METHODS:
            _require_same_origin(headers)
        if path in self.rules.open_paths:
            await self.app(scope, receive, send)
            return
        caller = state["caller"] = await self.ring.caller(headers.get("authorization"))
        if caller is NOBODY:
            raise no_key()
        if caller is LOCAL and ("x-forwarded-for" in headers or "forwarded" in headers):
            raise ServiceError(
                "access/undeclared-proxy",
                "a proxy lets others reach this server, which has no keys",
                status=403,
                kind="undeclared_proxy",
                hint="make keys and declare it: burnish serve --behind-proxy CIDR",
            )
        await self.meter.enter(caller)
        try:
            await self.app(scope, receive, send)
        finally:
            self.meter.leave(caller)

    def _address(self, scope: Scope, headers: Headers) -> str:
        """The address of the client, as far as it can be known."""
        peer = str((scope.get("client") or ("", 0))[0])
        address = _address_of(peer.split("%")[0])
        if address is None:
            return peer  # not from a network
        trusted = any(address in network for network in self.rules.proxies)
        if self.rules.only_proxies and not trusted and not address.is_loopback:
            raise ServiceError("access/proxy", "only the proxy may connect", status=403, kind="proxy_required")
        forwarded = headers.get("x-forwarded-for", "").rsplit(",", 1)[-1].strip()
        return forwarded[:64] if trusted and forwarded.isprintable() and forwarded else peer

    def _require_host(self, headers: Headers) -> None:
        """A page that lets its own name mean this machine (DNS rebinding) is found out by that name."""
        name = _host_name(headers.get("host", ""))
        if name is None or not (_address_of(name) is not None or name in LOCAL_NAMES or name in self.rules.names):
            raise ServiceError(
                "access/host",
                "this server does not go by that name",
                status=403,
                kind="host_not_allowed",
                hint="`burnish serve --name NAME` lets it",
            )

    def _require_readable(self, scope: Scope) -> None:
        if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > MAX_PATH_BYTES:
            text = f"the address has more than {MAX_PATH_BYTES:,} bytes"
            raise ServiceError("limits/bad-path", text, status=414, kind="uri_too_long")
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise ServiceError("limits/bad-path", "the address contains a NUL", status=400, kind="invalid_request")

    def _count(self, scope: Scope, answer: _Answer) -> None:
        state = scope["state"]
        seconds = time.monotonic() - answer.began
        self.metrics.request(scope["method"], state.get("route", "none"), answer.status, seconds)
        LOGGER.info(
            "request",
            extra={
                "request_id": state["request_id"],
                "method": scope["method"],
                "route": state.get("route"),
                "status": answer.status,
                "seconds": round(seconds, 4),
                "ip": state.get("ip"),
                "caller": state["caller"].shown,
            },
        )

    async def note(self, scope: Scope, status: int) -> None:
        """Writes the entry of a request that may change something."""
        state: dict[str, Any] = scope["state"]
        caller: Caller = state["caller"]
        if self.log is None or scope["method"] in SAFE_METHODS or (caller is NOBODY and not self._may_note_refusal()):
            return
        allowed: Allowed | None = state.get("allowed")
        if allowed is not None and not allowed.changes and status != FORBIDDEN:
            return
        route = state.get("route")
        entry = {
            "time": round(time.time(), 3),
            "request": state["request_id"],
            "ip": state.get("ip"),
            "key": caller.shown,
            "project": caller.project,
            "what": f"{scope['method']} {route or 'none'}",
            "object": state.get("object") or _first(scope.get("path_params", {})),
            "status": status,
        }
        await asyncio.wrap_future(self.log.put(entry))

    def _may_note_refusal(self) -> bool:
        now = time.monotonic()
        self.rules.refused = [each for each in self.rules.refused if now - each < 60]
        if len(self.rules.refused) >= REFUSED_PER_MINUTE:
            return False
        self.rules.refused.append(now)
        return True


class _Answer:
    """What is sent back: completed with the headers of every answer, logged when it begins."""

    def __init__(self, front: Front, scope: Scope, send: Send) -> None:
        self.began = time.monotonic()
        self.status = 0
        self._front = front
        self._scope = scope
        self._send = send
        self._noted = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if not self._noted:
                self._noted = True
                await self._front.note(self._scope, message["status"])
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers["x-request-id"] = self._scope["state"]["request_id"]
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if message["status"] == 409:
                headers["x-should-retry"] = "false"
            self.status = message["status"]
        async with asyncio.timeout(SLOWEST_READER_SECONDS):
            await self._send(message)


def _require_same_origin(headers: Headers) -> None:
    """A browser says where a request comes from; a page of another place may change nothing here."""
    origin = headers.get("origin")
    elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    if origin is not None:
        try:
            elsewhere = elsewhere or urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        except ValueError:
            elsewhere = True
    if elsewhere:
        raise ServiceError(
            "access/origin", "requests from pages of another origin are refused", status=403, kind="origin_not_allowed"
        )


def _host_name(host: str) -> str | None:
    """The name in a Host header, lower case, without its port."""
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        return name if bracket and (rest == "" or rest.startswith(":")) else None
    name = host.partition(":")[0].lower().rstrip(".")
    return name or None


@lru_cache(maxsize=1024)
def _address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text is; None for anything else."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _first(path_params: Mapping[str, Any]) -> str | None:
    """What a path names, shortened: it goes into the log."""
    value = next(iter(path_params.values()), None)
    return None if value is None else excerpt(str(value), 200)
