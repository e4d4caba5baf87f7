"""Chunks of a conversation in which tools may be called."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from burnish.api.chat import ChatRequest, _choice, _Stream
from burnish.lifecycle.inference import Answered, Writing
from burnish.serving.choosing import Chosen
from burnish.serving.decoding import Written
from burnish.serving.tool_calls import CallForm

CALL = '{"name": "f", "arguments": {}}'
TOOLS = [{"type": "function", "function": {"name": "f"}}]
CHOSEN = [Chosen(token, -0.5) for token in range(3)]


class _Told:
    """An answer that comes in two pieces."""

    def __init__(self, finish: str) -> None:
        self._finish = finish

    async def pieces(self) -> AsyncIterator[tuple[int, Written]]:
        yield 0, Written(CALL[:9], CHOSEN[:2], None, 2)
        yield 0, Written(CALL[9:], CHOSEN[2:], self._finish, 3)


@pytest.mark.parametrize(("finish", "expected"), [("stop", "tool_calls"), ("length", "length")])
def test_calls_come_with_log_probabilities_and_say_when_they_were_cut(finish: str, expected: str) -> None:
    body = ChatRequest(model="m", messages=[{"role": "user"}], tools=TOOLS, logprobs=True, stream=True)
    texts: Any = {0: "a", 1: "b", 2: "c"}
    told: Any = _Told(finish)
    writing = Writing(5, texts, CallForm("", "", "arguments"), told, AsyncExitStack())

    async def chunks() -> list[Any]:
        return [each async for each in _Stream(body, writing).events()]

    events = [json.loads(each.removeprefix(b"data: ")) for each in asyncio.run(chunks())[:-1]]
    choices = [event["choices"][0] for event in events]
    streamed = [token["token"] for each in choices if each["logprobs"] for token in each["logprobs"]["content"]]
    calls = [call["function"] for each in choices for call in each["delta"].get("tool_calls", [])]
    assert (streamed, calls) == (["a", "b", "c"], [{"name": "f", "arguments": "{}"}])
    assert choices[-1]["finish_reason"] == expected
    assert _choice(body, writing, 0, Answered(CALL, finish, 3, CHOSEN))["finish_reason"] == expected
