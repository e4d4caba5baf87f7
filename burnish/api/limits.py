"""How much a request may be: bytes, depth and numbers of its body, its pace, and what its key may use."""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
import time
from dataclasses import dataclass
from typing import Any

import anyio
from anyio import to_thread
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive

from burnish.api.access import KNOWN_SECONDS, Caller
from burnish.errors import ServiceError
from burnish.registry.keys import DAY_SECONDS, note_use, tokens_today
from burnish.registry.store import Registry

MAX_JSON_BYTES = 64 * 1024**2
MAX_DEPTH = 64
MAX_VALUES = 2_000_000  # in one body: a batch of 2,048 texts as token ids fits
SLOWEST_BYTES_PER_SECOND = 16_384
GRACE_SECONDS = 30.0  # before a body has to keep that pace
BODY_IN_THREAD_BYTES = 262_144  # longer ones are not parsed on the loop

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def paced(receive: Receive, most: int | None) -> Receive:
    """A body that is neither longer than `most` bytes nor slower than the slowest pace.

    Raises (from what it gives):
        ServiceError: [limits/too-large] (413), [limits/too-slow] (408).
    """
    begun = time.monotonic()
    received = 0
    complete = False

    async def limited() -> Message:
        nonlocal received, complete
        if complete:  # what comes now is the end of the connection, however long the answer takes
            return await receive()
        left = begun + GRACE_SECONDS + received / SLOWEST_BYTES_PER_SECOND - time.monotonic()
        try:
            async with asyncio.timeout(max(0.01, left)):
                message = await receive()
        except TimeoutError as error:
            raise ServiceError(
                "limits/too-slow", "the body arrives too slowly", status=408, kind="request_timeout"
            ) from error
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if most is not None and received > most:
            raise too_large(most)
        return message

    return limited


def too_large(most: int) -> ServiceError:
    return ServiceError(
        "limits/too-large", f"the body is larger than {most:,} bytes", status=413, kind="request_too_large"
    )


async def parsed(body: bytes) -> Any:
    """The value of a JSON body.

    Raises:
        ServiceError: [limits/bad-json], [limits/too-deep], [limits/too-many] (400).
    """
    if len(body) > BODY_IN_THREAD_BYTES:
        return await run_in_threadpool(parse, body)
    return parse(body)


def parse(body: bytes) -> Any:
    """The same at once. Nothing is built before its depth and its number of values are known."""
    bare = _STRING.sub(b'""', body)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > MAX_VALUES:
        raise _bad("limits/too-many", f"the body has more than {MAX_VALUES:,} values", "too_many_values")
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth > MAX_DEPTH:
            raise _bad("limits/too-deep", f"the body is nested more than {MAX_DEPTH} deep", "too_deep")
    try:
        value = json.loads(body, parse_constant=_no_constant)
        if _LONE_SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # also numbers of more than 4,300 digits, and half characters
        raise _bad("limits/bad-json", "the body is not valid JSON", "invalid_json") from error
    if b"\\u0000" in body and _has_nul(value):
        raise _bad("limits/bad-json", "text in the body contains the character U+0000", "invalid_json")
    return value


def _bad(code: str, message: str, kind: str) -> ServiceError:
    return ServiceError(code, message, status=400, kind=kind)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _has_nul(value: Any) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str) and "\0" in each:
            return True
        if isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            waiting += each
    return False


@dataclass(slots=True)
class _Use:
    """What a key has used."""

    allowance: float  # requests it may send at once; grows with time
    at: float  # when that was so
    running: int = 0
    day: int = 0  # that was read last
    read: float = -math.inf  # when
    tokens: int = 0  # of that day, as far as all servers had noted them then
    new_tokens: int = 0  # since this server noted them last
    new_requests: int = 0


class Meter:
    """What each key uses: requests a minute, requests at once, tokens a day.

    Tokens are counted in the database, for all servers together; each knows there what the others noted a second ago.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._used: dict[str, _Use] = {}
        self._threads = anyio.CapacityLimiter(8)  # of its own: nobody waits here for slow requests
        self._noting = threading.Lock()  # while the database is told or asked
        self._counting = threading.Lock()  # while numbers are changed

    async def enter(self, caller: Caller) -> None:
        """Counts a request in.

        Raises:
            ServiceError: [limits/rate], [limits/concurrency], [limits/tokens] (429) with when to come back.
        """
        key = caller.key
        if key is None:
            return
        now, today = time.monotonic(), int(time.time() // DAY_SECONDS)
        use = self._used.setdefault(key.id, _Use(float(key.requests_per_minute or 0), now))
        if key.tokens_per_day is not None:
            if use.day != today or now - use.read > KNOWN_SECONDS:
                await to_thread.run_sync(self._read, key.id, use, limiter=self._threads)
            if use.tokens + use.new_tokens >= key.tokens_per_day:
                wait = DAY_SECONDS - time.time() % DAY_SECONDS
                raise _busy("limits/tokens", f"this key has used its {key.tokens_per_day:,} tokens of today", wait)
        if key.concurrency is not None and use.running >= key.concurrency:
            raise _busy("limits/concurrency", f"this key has {key.concurrency} requests running", 1)
        if key.requests_per_minute is not None:
            rate, now = key.requests_per_minute / 60, time.monotonic()
            use.allowance = min(float(key.requests_per_minute), use.allowance + (now - use.at) * rate)
            use.at = now
            if use.allowance < 1:
                text = f"this key may send {key.requests_per_minute} requests a minute"
                raise _busy("limits/rate", text, (1 - use.allowance) / rate)
            use.allowance -= 1
        use.running += 1
        with self._counting:
            use.new_requests += 1

    def leave(self, caller: Caller) -> None:
        """Counts a request out that was counted in."""
        if caller.key is not None:
            self._used[caller.key.id].running -= 1

    def spend(self, caller: Caller, tokens: int) -> None:
        """Adds the tokens of a prompt and its answer to what a key has used today."""
        if caller.key is not None and (use := self._used.get(caller.key.id)) is not None:
            with self._counting:
                use.new_tokens += tokens

    def flush(self) -> None:
        """Notes in the database what was used since the last time; what cannot be noted is kept for the next time."""
        now = time.time()
        with self._noting:
            used = [(key, use, use.new_requests, use.new_tokens) for key, use in list(self._used.items())]
            used = [each for each in used if each[2] or each[3]]
            if not used:
                return
            note_use(self._registry, {key: (now, requests, tokens) for key, _, requests, tokens in used})
            for _, use, requests, tokens in used:
                with self._counting:
                    use.new_requests -= requests
                    use.new_tokens -= tokens
                    use.tokens += tokens

    def _read(self, key: str, use: _Use) -> None:
        """Asks the database what a key has used today, on all servers; not while it is told, which may take long."""
        now = time.time()
        today = int(now // DAY_SECONDS)
        if not self._noting.acquire(timeout=-1 if use.day != today else KNOWN_SECONDS):
            return  # what was known a moment ago has to do
        try:
            tokens = tokens_today(self._registry, key, now)
            with self._counting:
                use.tokens, use.day, use.read = tokens, today, time.monotonic()
        finally:
            self._noting.release()


def _busy(code: str, message: str, seconds: float) -> ServiceError:
    kind = "insufficient_quota" if code == "limits/tokens" else "rate_limit_exceeded"
    return ServiceError(code, message, status=429, kind=kind, retry_after_seconds=seconds)
