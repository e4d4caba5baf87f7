"""Models in memory: room for some, the least recently used go, never one that is used."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from burnish.errors import ModelError, ServiceError
from burnish.serving import pool as pool_of
from burnish.serving.pool import Pool, Wanted


@dataclass(eq=False)
class Weight:
    """A model that is only heavy."""

    name: str
    size_bytes: int
    open: bool = True

    def close(self) -> None:
        self.open = False


def wanted(name: str, size: int = 40, *, beside: Wanted[Weight] | None = None) -> Wanted[Weight]:
    return Wanted(name, size, lambda _: Weight(name, size), beside)


def run(work: Callable[[Pool[Weight]], object], budget: int = 100) -> None:
    async def in_a_loop() -> None:
        await work(Pool(budget))  # type: ignore[misc]

    asyncio.run(in_a_loop())


def test_the_least_recently_used_goes_and_never_one_in_use() -> None:
    async def work(pool: Pool[Weight]) -> None:
        async with pool.using(wanted("a")) as a:
            async with pool.using(wanted("b")) as b:
                pass
            async with pool.using(wanted("c")):
                assert (a.open, b.open) == (True, False)
        assert pool.keys == ["c", "a"]
        async with pool.using(wanted("a")) as again:
            assert again is a, "it was kept"
        async with pool.using(wanted("d")):
            assert pool.keys == ["a", "d"]

    run(work)


def test_who_finds_no_room_waits_for_it_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool[Weight]) -> None:
        async with pool.using(wanted("a", 80)):
            waiting = asyncio.create_task(_use(pool, wanted("b", 80)))
            await asyncio.sleep(0)
            assert not waiting.done()
        assert await waiting == "b"
        monkeypatch.setattr(pool_of, "ROOM_SECONDS", 0.0)
        async with pool.using(wanted("b", 80)):
            with pytest.raises(ServiceError) as refused:
                await _use(pool, wanted("c"))
            assert (refused.value.status, refused.value.retry_after_seconds) == (503, 5.0)
        with pytest.raises(ServiceError, match="may be used for models"):
            await _use(pool, wanted("d", 101))

    run(work)


async def _use(pool: Pool[Weight], each: Wanted[Weight]) -> str:
    async with pool.using(each) as model:
        return model.name


def test_an_adapter_keeps_its_base() -> None:
    async def work(pool: Pool[Weight]) -> None:
        base = wanted("base", 60)
        async with pool.using(wanted("adapter", 5, beside=base)):
            pass
        assert await _use(pool, wanted("other", 5, beside=base)) == "other"
        assert pool.size_bytes == 70
        assert await _use(pool, wanted("large", 90)) == "large"
        assert pool.keys == ["large"]

    run(work)


def test_loading_one_model_keeps_nobody_else_waiting_and_happens_once() -> None:
    loads: list[str] = []
    go_on = threading.Event()

    def slow(_: Weight | None) -> Weight:
        loads.append("slow")
        go_on.wait()
        return Weight("slow", 40)

    async def work(pool: Pool[Weight]) -> None:
        first = asyncio.create_task(_use(pool, Wanted("slow", 40, slow)))
        second = asyncio.create_task(_use(pool, Wanted("slow", 40, slow)))
        assert await _use(pool, wanted("quick")) == "quick"
        first.cancel()  # who asked first goes away; the other gets the model all the same
        go_on.set()
        assert await second == "slow"
        assert loads == ["slow"]

    run(work)


def test_a_model_that_cannot_be_loaded_is_not_tried_at_once_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def broken(_: Weight | None) -> Weight:
        tries.append(1)
        raise ModelError("model/unloadable", "broken")

    async def work(pool: Pool[Weight]) -> None:
        base = wanted("base", 60)
        for _ in range(3):
            with pytest.raises(ModelError):
                await _use(pool, Wanted("x", 1, broken, base))
        assert len(tries) == 1
        assert await _use(pool, wanted("large", 90)) == "large", "nothing is held for it"
        monkeypatch.setattr(pool_of, "FAILED_SECONDS", 0.0)
        with pytest.raises(ModelError):
            await _use(pool, Wanted("x", 1, broken))
        assert len(tries) == 2

    run(work)
