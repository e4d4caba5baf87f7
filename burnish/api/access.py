"""Who asks: a key, or whoever reaches a server on loopback that has no keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
from anyio import to_thread

from burnish.errors import ServiceError
from burnish.lifecycle.service import Service
from burnish.registry.keys import DEFAULT_PROJECT, Key, any_keys, check_key

KNOWN_SECONDS = 0.5  # that a key is remembered: it is refused at most so long after it was revoked
REMEMBERED = 1024  # keys at most
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request; what they may see belongs to their project."""

    key_id: str | None  # None: no key is needed here
    project: str
    role: str
    key: Key | None = None

    @property
    def shown(self) -> str:
        return f"bk_{self.key_id}" if self.key_id else self.role


LOCAL = Caller(None, DEFAULT_PROJECT, "admin")  # whoever reaches a server on loopback that has no keys
NOBODY = Caller(None, "", "nobody")


class KeyRing:
    """Looks keys up, and remembers them for a moment."""

    def __init__(self, service: Service, *, open_without_keys: bool) -> None:
        self._registry = service.registry
        self._open = open_without_keys
        self._known: dict[str, tuple[float, Caller]] = {}
        self._keyless_until = 0.0
        self._asking: dict[str | None, asyncio.Future[Any]] = {}
        self._threads = anyio.CapacityLimiter(8)  # of its own: nobody waits here for slow requests

    async def caller(self, authorization: str | None) -> Caller:
        """Who sends this header.

        Raises:
            ServiceError: [access/bad-key] (401).
        """
        scheme, _, text = (authorization or "").partition(" ")
        now = time.monotonic()
        if scheme.lower() == "bearer" and (known := self._known.get(text)) is not None and now < known[0]:
            return known[1]
        if self._open and await self._keyless(now):
            return LOCAL
        if scheme.lower() != "bearer":
            return NOBODY
        caller = await self._once(text, lambda: self._looked_up(text))
        if caller is None:
            self._known.pop(text, None)
            raise bad_key()
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[text] = (now + KNOWN_SECONDS, caller)
        return caller

    def _looked_up(self, text: str) -> Caller | None:
        key = check_key(self._registry, text)
        return None if key is None else Caller(key.id, key.project, key.role, key)

    async def _once(self, what: str | None, look: Callable[[], Result]) -> Result:
        """What the database says; those who ask the same at the same time share one look."""
        asking = self._asking.get(what)
        if asking is None:
            asking = self._asking[what] = asyncio.ensure_future(to_thread.run_sync(look, limiter=self._threads))
            asking.add_done_callback(lambda _: self._asking.pop(what, None))
        found: Result = await asyncio.shield(asking)  # whoever goes does not end it for the others
        return found

    async def _keyless(self, now: float) -> bool:
        if now >= self._keyless_until:
            if await self._once(None, lambda: any_keys(self._registry)):
                return False
            self._keyless_until = now + KNOWN_SECONDS
        return True


def bad_key() -> ServiceError:
    return ServiceError(
        "access/bad-key",
        "this key is not known here, or it was revoked or has expired",
        status=401,
        kind="invalid_api_key",
        hint="whoever runs this server makes keys with `burnish keys create`",
    )


def no_key() -> ServiceError:
    return ServiceError(
        "access/no-key",
        "a key is needed",
        status=401,
        kind="invalid_api_key",
        hint="send it as `Authorization: Bearer bk_...`; the OpenAI client does so with api_key=",
    )
