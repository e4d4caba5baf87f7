"""An inference process outside that computes for a base, e.g. vLLM on a GPU: how it is asked, and what it may answer.

It is asked in tokens and answers in tokens, so template, spelling and stops stay the training's own. What comes back is
from a stranger: bounded, parsed as JSON, checked number by number. What it says of its failures is told to nobody; it
may quote what others asked.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from burnish.data.endpoint import Endpoint
from burnish.errors import ServiceError

if TYPE_CHECKING:
    import httpx

LOGGER = logging.getLogger("burnish.serving")
AT_ONCE = 256  # answers that are computed over there; more wait here, as many as before any model
CONNECT_SECONDS = 5.0
ASK_SECONDS = 120.0  # for whatever is no answer, e.g. to load an adapter
FORGET_SECONDS = 10.0  # for which the deletion of a model waits
LINE_BYTES = 1 << 20  # of one event
BODY_BYTES = 128 << 20  # of an answer that comes whole: 2,048 vectors of 8,192 numbers
AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 5.0, 60.0
OK, NOT_FOUND, TOO_MANY, UNAVAILABLE = 200, 404, 429, 503


class UnknownThereError(Exception):
    """The process outside does not know the model, as after its restart."""


@dataclass(slots=True)
class Upstream:
    """One process outside.

    Args:
        endpoint: where it is, and what it calls the base.
        salt: a secret that keeps its cache of prompts apart for each project.
    """

    endpoint: Endpoint
    salt: bytes
    _client: httpx.AsyncClient | None = None
    _places: asyncio.Semaphore | None = None
    asked: int = 0  # answers that are computed there or wait for it

    @property
    def name(self) -> str:
        return self.endpoint.model

    @property
    def places(self) -> asyncio.Semaphore:
        """One for each answer that may be computed there at once."""
        if self._places is None:
            self._places = asyncio.Semaphore(AT_ONCE)
        return self._places

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Any]:
        """The values of a stream of events, first None when it has begun; who stops to read ends the computing there.

        Raises:
            ServiceError: [upstream/...].
            UnknownThereError: for a model that is not known there.
        """
        async with self._answer(path, body) as answer:
            yield None
            async for line in _lines(answer, self.name):
                if line.startswith(b"data:"):
                    said = line[5:].strip()
                    if said == b"[DONE]":
                        return
                    yield _parsed(said, self.name)
        raise broken(self.name, "the stream ended early")

    async def whole(self, path: str, body: Mapping[str, Any]) -> Any:
        """A whole answer. Errors as for `events`."""
        async with self._answer(path, body) as answer:
            found = bytearray()
            async for part in answer.aiter_raw():
                found += part
                if len(found) > BODY_BYTES:
                    raise broken(self.name, "too large an answer")
        return await asyncio.to_thread(_parsed, bytes(found), self.name)

    def serves(self) -> Mapping[str, Any]:
        """What it says of the base. Not in the thread of the loop.

        Raises:
            ServiceError: [upstream/...]; [upstream/unknown-model] when it has none of that name.
        """
        for each in self._models():
            if each.get("id") == self.name:
                return each
        raise unknown_there(self.name)

    def load_adapter(self, called: str, folder: str) -> None:
        """Has it load the adapter of a folder that it sees under the same path. Not in the thread of the loop.

        Raises:
            ServiceError: [upstream/...]; [upstream/no-adapter].
        """
        status = self._say("load_lora_adapter", {"lora_name": called, "lora_path": folder}, ASK_SECONDS)
        if status != OK and not any(each.get("id") == called for each in self._models()):  # else it has it already
            LOGGER.warning("upstream %s answered %d to load_lora_adapter", self.name, status)
            raise ServiceError(
                "upstream/no-adapter",
                "the process that answers for this model's base could not load the adapter",
                status=502,
                param="model",
                kind="upstream_failed",
                retry_after_seconds=AGAIN_SECONDS,
                hint="whoever runs this server finds in the guide how that process is started",
            )

    def unload_adapter(self, called: str) -> None:
        """Has it forget an adapter, whether it has it or not. Not in the thread of the loop."""
        try:
            status = self._say("unload_lora_adapter", {"lora_name": called}, FORGET_SECONDS)
        except ServiceError:
            status = UNAVAILABLE
        if status not in (OK, NOT_FOUND):
            LOGGER.warning("upstream %s answered %d to unload_lora_adapter", self.name, status)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @contextlib.asynccontextmanager
    async def _answer(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        import httpx

        if self._client is None:
            limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
            self._client = httpx.AsyncClient(**self._options(), limits=limits)
        with _told_as_ours(self.name):
            async with self._client.stream("POST", self._url(path), json=dict(body)) as answer:
                _require_good(answer, self.name)
                yield answer

    def _say(self, path: str, body: Mapping[str, Any], seconds: float) -> int:
        """The status of its answer, which is not read."""
        import httpx

        with (
            _told_as_ours(self.name),
            httpx.Client(**self._options(seconds)) as client,
            client.stream("POST", self._url(path), json=dict(body)) as answer,
        ):
            return answer.status_code

    def _models(self) -> list[dict[str, Any]]:
        import httpx

        found = bytearray()
        with (
            _told_as_ours(self.name),
            httpx.Client(**self._options(ASK_SECONDS)) as client,
            client.stream("GET", self._url("models")) as answer,
        ):
            if answer.status_code == NOT_FOUND:
                raise unknown_there(self.name)
            _require_good(answer, self.name)
            for part in answer.iter_raw():
                found += part
                if len(found) > LINE_BYTES:
                    raise broken(self.name, "too long a list of models")
        value = _parsed(bytes(found), self.name)
        models = value.get("data") if isinstance(value, dict) else None
        if not isinstance(models, list):
            raise broken(self.name, "no list of models")
        return [each for each in models if isinstance(each, dict)]

    def _url(self, path: str) -> str:
        return f"{self.endpoint.url.rstrip('/')}/{path}"

    def _options(self, seconds: float | None = None) -> dict[str, Any]:
        """No redirects and no proxies: rows and key go where the operator said, or nowhere. Nothing packed: what is
        unpacked has no size that could be known before."""
        import httpx

        key = {"authorization": f"Bearer {self.endpoint.key}"} if self.endpoint.key else {}
        return {
            "headers": {"accept-encoding": "identity", "user-agent": "burnish", **key},
            "timeout": httpx.Timeout(seconds, connect=CONNECT_SECONDS),  # an answer has the deadline of its request
            "follow_redirects": False,
            "trust_env": False,
            "verify": _certificates(),
        }


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


def vectors_of(value: Any, count: int, name: str) -> list[np.ndarray]:
    """(D,) float32 of length 1 for each text, from the body of an answer with base64.

    Raises:
        ServiceError: [upstream/broken] for anything else.
    """
    try:
        rows = sorted(value["data"], key=lambda row: int(row["index"]))
        found = [np.frombuffer(base64.b64decode(row["embedding"], validate=True), "<f4") for row in rows]
    except (LookupError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise broken(name, "no vectors") from error
    if len(found) != count or len({len(each) for each in found}) != 1 or not len(found[0]):
        raise broken(name, "vectors that do not fit what was asked")
    vectors = np.stack(found).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise broken(name, "vectors that are no numbers")
    return list(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


async def _lines(answer: httpx.Response, name: str) -> AsyncIterator[bytes]:
    kept = b""
    async for part in answer.aiter_raw():
        *lines, kept = (kept + part).split(b"\n")
        for line in lines:
            yield line.strip()
        if len(kept) > LINE_BYTES:
            raise broken(name, "too long a line")
    if kept:
        yield kept.strip()


def _parsed(said: bytes, name: str) -> Any:
    try:
        return json.loads(said)
    except (ValueError, RecursionError) as error:
        raise broken(name, "no JSON") from error


def _require_good(answer: httpx.Response, name: str) -> None:
    status = answer.status_code
    if status == OK:
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise broken(name, "a packed answer")
        return
    LOGGER.warning("upstream %s answered %d", name, status)
    if status == NOT_FOUND:
        raise UnknownThereError
    if status in (TOO_MANY, UNAVAILABLE):
        given = answer.headers.get("retry-after", "")
        wait = float(given) if given.isascii() and given.isdigit() and len(given) < 6 else AGAIN_SECONDS
        raise _failure("upstream/busy", "is busy", UNAVAILABLE, min(max(wait, 1.0), LONGEST_AGAIN_SECONDS))
    refused = status in (401, 403)
    what = "does not accept the key of this server" if refused else "failed"
    raise _failure("upstream/refused" if refused else "upstream/failed", what, 502)


@contextlib.contextmanager
def _told_as_ours(name: str) -> Iterator[None]:
    """Failures of the way there as errors of ours."""
    import httpx

    try:
        yield
    except httpx.TimeoutException as error:
        LOGGER.warning("upstream %s: %s", name, type(error).__name__)
        raise _failure("upstream/timeout", "does not answer in time", 504) from None
    except httpx.ConnectError as error:
        LOGGER.warning("upstream %s: %s", name, type(error).__name__)
        raise _failure("upstream/away", "cannot be reached", UNAVAILABLE) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        LOGGER.warning("upstream %s: %s", name, type(error).__name__)
        raise _failure("upstream/failed", "broke off", 502) from None


def _failure(code: str, what: str, status: int, again: float = AGAIN_SECONDS) -> ServiceError:
    return ServiceError(
        code,
        f"the process that answers for this model {what}",
        status=status,
        kind=code.replace("/", "_").replace("-", "_"),
        retry_after_seconds=again,
    )


def broken(name: str, what: str) -> ServiceError:
    """It gave something else than an answer."""
    LOGGER.warning("upstream %s sent %s", name, what)
    return _failure("upstream/broken", "gave an answer that cannot be used", 502)


def unknown_there(name: str) -> ServiceError:
    """The process outside does not have what it was said to have."""
    LOGGER.warning("upstream %s knows no model of that name", name)
    return _failure("upstream/unknown-model", "does not know it", 502)
