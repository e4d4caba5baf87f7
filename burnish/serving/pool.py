"""Models in memory: loaded at first use, kept as long as there is room, never dropped while somebody uses them.

All of it happens in the thread of the event loop but the loading itself, which runs beside it: while one model is
loaded the others go on answering.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from burnish.errors import ServiceError

ROOM_SECONDS = 30.0  # that a request waits for others to be done with their models
FAILED_SECONDS = 5.0  # that a model which could not be loaded is not tried again


class Kept(Protocol):
    """What is loaded of a model."""

    @property
    def size_bytes(self) -> int: ...
    def close(self) -> None: ...


Model = TypeVar("Model", bound=Kept)


@dataclass(frozen=True, slots=True)
class Wanted(Generic[Model]):
    """A model that is to be used.

    Attributes:
        key: the same for the same model only.
        size_bytes: that it will take, about.
        load: loads it, in a thread of its own, given the model that it stands beside.
        beside: that model.
    """

    key: str
    size_bytes: int
    load: Callable[[Model | None], Model]
    beside: Wanted[Model] | None = None


@dataclass(slots=True, eq=False)
class _Entry(Generic[Model]):
    key: str
    size_bytes: int
    loading: asyncio.Task[Model]
    model: Model | None = None
    beside: _Entry[Model] | None = None
    users: int = 0
    used: float = field(default_factory=time.monotonic)

    def arrived(self, loading: asyncio.Task[Model]) -> None:
        """It is there, also when nobody waits for it any more."""
        if not loading.cancelled() and loading.exception() is None:
            self.model = loading.result()

    @property
    def now_bytes(self) -> int:
        return self.model.size_bytes if self.model is not None else self.size_bytes


class Pool(Generic[Model]):
    """Models by key.

    Args:
        budget_bytes: that all of them together may take.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._entries: dict[str, _Entry[Model]] = {}
        self._failed: dict[str, tuple[float, Exception]] = {}
        self._released = asyncio.Condition()

    @property
    def keys(self) -> list[str]:
        """Of those in memory or on their way, the least recently used first."""
        return [entry.key for entry in sorted(self._entries.values(), key=lambda entry: entry.used)]

    @property
    def size_bytes(self) -> int:
        return sum(entry.now_bytes for entry in self._entries.values())

    def held(self, key: str) -> contextlib.AbstractAsyncContextManager[Model] | None:
        """The same as `using` for a model that is in memory or on its way; None for others."""
        entry = self._entries.get(key)
        return None if entry is None else self._using_entry(entry)

    @contextlib.asynccontextmanager
    async def _using_entry(self, entry: _Entry[Model]) -> AsyncIterator[Model]:
        entry.users += 1
        entry.used = time.monotonic()
        try:
            yield await self._loaded(entry)
        finally:
            await self._release(entry)

    @contextlib.asynccontextmanager
    async def using(self, wanted: Wanted[Model]) -> AsyncIterator[Model]:
        """The model, which stays in memory inside the block.

        Raises:
            ServiceError: [service/no-memory]; and what the loading raises.
        """
        entry = await self._hold(wanted)
        try:
            yield await self._loaded(entry)
        finally:
            await self._release(entry)

    async def forget(self, key: str) -> None:
        """Drops a model as soon as nobody uses it."""
        entry = self._entries.get(key)
        if entry is not None and entry.users == 0:
            await self._drop(entry)

    async def close(self) -> None:
        """Drops all of them."""
        for entry in reversed(list(self._entries.values())):
            with contextlib.suppress(Exception):
                await entry.loading
            if entry.model is not None:
                entry.model.close()
        self._entries.clear()

    async def _hold(self, wanted: Wanted[Model]) -> _Entry[Model]:
        """The entry of a model, made if there is none, with one more user."""
        while (entry := self._entries.get(wanted.key)) is None:
            self._require_not_failed(wanted.key)
            beside = await self._hold(wanted.beside) if wanted.beside is not None else None
            try:
                await self._make_room(wanted.size_bytes)
                if wanted.key not in self._entries:
                    loading = asyncio.create_task(self._load(wanted, beside))
                    made = _Entry(wanted.key, wanted.size_bytes, loading, beside=beside)
                    loading.add_done_callback(made.arrived)
                    self._entries[wanted.key] = made
                    beside = None  # held as long as the entry is there
            finally:
                if beside is not None:
                    await self._release(beside)
        entry.users += 1
        entry.used = time.monotonic()
        return entry

    async def _load(self, wanted: Wanted[Model], beside: _Entry[Model] | None) -> Model:
        under = await self._loaded(beside) if beside is not None else None
        return await asyncio.to_thread(wanted.load, under)

    async def _loaded(self, entry: _Entry[Model]) -> Model:
        try:
            return await asyncio.shield(entry.loading)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if self._entries.get(entry.key) is entry:
                del self._entries[entry.key]
                self._failed[entry.key] = (time.monotonic(), error)
                if entry.beside is not None:
                    await self._release(entry.beside)
            raise

    async def _release(self, entry: _Entry[Model]) -> None:
        entry.users -= 1
        entry.used = time.monotonic()
        async with self._released:
            self._released.notify_all()

    def _require_not_failed(self, key: str) -> None:
        when, error = self._failed.get(key, (0.0, None))
        if error is not None and time.monotonic() - when < FAILED_SECONDS:
            raise error
        self._failed.pop(key, None)

    async def _make_room(self, size_bytes: int) -> None:
        """Drops the least recently used models until there is room."""
        if size_bytes > self.budget_bytes:
            raise ServiceError(
                "service/no-memory",
                f"this model takes {size_bytes:,} bytes of memory, {self.budget_bytes:,} may be used for models",
                status=503,
                hint="whoever runs this server can raise BURNISH_SERVE_MEMORY_BYTES",
            )
        patience = time.monotonic() + ROOM_SECONDS
        while self.size_bytes + size_bytes > self.budget_bytes:
            idle = [entry for entry in self._entries.values() if entry.users == 0 and entry.model is not None]
            if idle:
                await self._drop(min(idle, key=lambda entry: entry.used))
                continue
            left = patience - time.monotonic()
            if left <= 0:
                raise _no_room()
            async with self._released:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._released.wait(), left)

    async def _drop(self, entry: _Entry[Model]) -> None:
        del self._entries[entry.key]
        if entry.model is not None:
            entry.model.close()
        if entry.beside is not None:
            await self._release(entry.beside)


def _no_room() -> ServiceError:
    return ServiceError(
        "service/no-memory",
        "all memory for models is in use by other requests",
        status=503,
        retry_after_seconds=5.0,
    )
