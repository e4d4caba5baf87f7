"""A service that stops, and one that has too much to do."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from burnish.errors import ServiceError
from burnish.lifecycle import served_models
from burnish.lifecycle.inference import Inference, Wish, whole
from burnish.lifecycle.service import Service
from burnish.registry.store import open_registry
from burnish.serving.choosing import Choice

LONG = Wish(max_new_tokens=60, choice=Choice(bias={1: -100.0}))  # token 1 ends an answer


async def answered(inference: Inference, prompts: Sequence[str]) -> list[int]:
    writing = await inference.complete("default", "tiny", prompts, LONG)
    try:
        return [each.tokens for each in await whole(writing, len(prompts))]
    finally:
        await writing.close()


def test_what_was_begun_is_finished_and_nothing_new_is_taken(language_base: Path, tmp_path: Path) -> None:
    async def work() -> None:
        inference = Inference(Service(open_registry(tmp_path), tmp_path, {}, {"tiny": language_base}))
        begun = [asyncio.create_task(answered(inference, [f"number {n}"])) for n in range(8)]
        while inference._running < 8:
            await asyncio.sleep(0)
        draining = asyncio.create_task(inference.drain(300))
        await asyncio.sleep(0)
        with pytest.raises(ServiceError) as refused:
            await answered(inference, ["late"])
        assert (refused.value.status, refused.value.retry_after_seconds) == (503, 5.0)
        assert [await each for each in begun] == [[60]] * 8
        assert await draining
        assert not inference._turns._thread.is_alive()

    asyncio.run(work())


def test_too_many_requests_are_told_when_to_come_back(language_base: Path, tmp_path: Path) -> None:
    async def work() -> None:
        service = Service(open_registry(tmp_path), tmp_path, {}, {"tiny": language_base})
        inference = Inference(service, limit=2)
        found = await asyncio.gather(
            *(answered(inference, [f"{n} {part}" for part in range(2)]) for n in range(64)), return_exceptions=True
        )
        refused = [each for each in found if isinstance(each, ServiceError)]
        assert [each for each in found if not isinstance(each, ServiceError)] == [[60, 60]] * (64 - len(refused))
        assert {(each.status, each.retry_after_seconds) for each in refused} == {(429, 1.0)}
        for wish, prompts, param in [(replace(LONG, answers=3), ["a"], "n"), (LONG, ["a"] * 3, "prompt")]:
            with pytest.raises(ServiceError) as too_many:
                await inference.complete("default", "tiny", prompts, wish)
            assert (too_many.value.status, too_many.value.param) == (400, param)
        assert await inference.drain()

    asyncio.run(work())


def test_verifying_one_model_keeps_no_other_waiting_and_has_an_end(
    language_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, begun = threading.Event(), []
    find_base = served_models.find_base

    def slow(options: Any, **more: Any) -> Any:
        begun.append(options.base)
        assert go_on.wait(300)
        return find_base(options, **more)

    async def work() -> None:
        copies = {f"slow{n}": shutil.copytree(language_base, tmp_path / f"slow{n}") for n in range(8)}
        service = Service(open_registry(tmp_path), tmp_path, {}, {"tiny": language_base, **copies})
        inference = Inference(service, limit=4)
        assert await answered(inference, ["first"]) == [60]
        monkeypatch.setattr(served_models, "find_base", slow)
        asked = [
            asyncio.create_task(inference.complete("default", name, ["x"], LONG)) for name in copies for _ in range(2)
        ]
        inference.forget("tiny")
        assert await answered(inference, ["second"]) == [60]
        assert len(begun) <= 1
        inference.seconds = 0.0
        with pytest.raises(ServiceError) as late:
            await inference.complete("default", "slow0", ["x"], LONG)
        assert (late.value.code, late.value.status) == ("service/deadline", 503)
        inference.seconds = 300.0
        go_on.set()
        for writing in await asyncio.gather(*asked):
            await writing.close()
        assert sorted(begun) == sorted(map(str, copies.values())), "each once"
        assert await inference.drain()

    asyncio.run(work())


def test_a_token_that_the_model_has_no_row_for_is_refused(language_base: Path, tmp_path: Path) -> None:
    """Not computed: it would end the answers of everybody in the same pass."""
    folder = shutil.copytree(language_base, tmp_path / "base")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = tokenizer.get_vocab_size(with_added_tokens=True)
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    tokenizer.add_tokens([f"<more{n}>" for n in range(rows - words + 1)])
    tokenizer.save(str(folder / "tokenizer.json"))

    async def work() -> None:
        inference = Inference(Service(open_registry(tmp_path), tmp_path, {}, {"tiny": folder}))
        for prompt in ([rows], f"a <more{rows - words}>"):
            with pytest.raises(ServiceError) as refused:
                await inference.complete("default", "tiny", [prompt], LONG)
            assert (refused.value.status, refused.value.param) == (400, "prompt")
        assert await inference.drain()

    asyncio.run(work())
