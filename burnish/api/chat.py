"""/v1/chat/completions: conversations with tuned models and bases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from burnish.api.asked import FINGERPRINT, Drawn, Models, bad, new_id, now, told_tokens, unsupported, usage
from burnish.api.routing import INFER, By, allow, router
from burnish.api.streams import DONE, Events, event, unless_gone
from burnish.lifecycle.inference import Answered, Writing, whole
from burnish.serving.choosing import Chosen
from burnish.serving.decoding import Written

ROUTER = router()
REFUSED = ("functions", "function_call", "audio", "prediction", "web_search_options")


class ChatRequest(Drawn):
    """The body."""

    messages: list[dict[str, Any]] = Field(min_length=1, max_length=4_096)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    functions: Any = None
    function_call: Any = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None

    def require_possible(self) -> None:
        """Raises ServiceError [service/unsupported] naming what this server cannot do."""
        for name in REFUSED:
            if getattr(self, name) is not None:
                raise unsupported(name, "not supported here")
        if self.modalities not in (None, ["text"]):
            raise unsupported("modalities", "only text is written here")
        if self.response_format is not None and self.response_format.get("type") != "text":
            raise unsupported("response_format", "only text is written here; JSON cannot be guaranteed")
        if self.tool_choice not in (None, "auto", "none"):
            raise unsupported("tool_choice", 'a call cannot be enforced; "auto" and "none" are possible')
        if self.top_logprobs is not None and not self.logprobs:
            raise bad("top_logprobs", "needs logprobs to be true")
        for tool in self.tools or []:
            function = tool.get("function")
            if tool.get("type") != "function" or not isinstance(function, dict) or not function.get("name"):
                raise bad("tools", 'each is {"type": "function", "function": {"name": ...}}')

    @property
    def given_tools(self) -> list[dict[str, Any]] | None:
        return self.tools if self.tools and self.tool_choice != "none" else None


@ROUTER.post("/v1/chat/completions")
@allow(INFER, seconds=None, changes=False)
async def create(body: ChatRequest, request: Request, caller: By, inference: Models) -> Any:
    body.require_possible()
    request.state.object = body.model[:120]
    told = (body.top_logprobs or 0) if body.logprobs else None
    wish = body.wish(max_new_tokens=body.max_completion_tokens or body.max_tokens, top_logprobs=told)

    async def begin() -> Writing:
        return await inference.chat(caller.project, body.model, body.messages, wish, tools=body.given_tools)

    def spend(writing: Writing) -> None:
        request.app.state.meter.spend(caller, writing.spent_tokens)

    if body.stream:
        writing = await begin()
        stream = _Stream(body, writing)
        return stream.response(spend)

    async def answered() -> dict[str, Any]:
        writing = await begin()
        try:
            found = await whole(writing, body.n or 1)
        finally:
            spend(writing)
            await writing.close()
        spent = usage(writing.prompt_tokens, sum(each.tokens for each in found))
        choices = [_choice(body, writing, index, each) for index, each in enumerate(found)]
        return {**_head(body, new_id("chatcmpl-"), "chat.completion"), "choices": choices, "usage": spent}

    return JSONResponse(await unless_gone(request, answered()))


def _head(body: ChatRequest, name: str, kind: str) -> dict[str, Any]:
    return {"id": name, "object": kind, "created": now(), "model": body.model, "system_fingerprint": FINGERPRINT}


def _choice(body: ChatRequest, writing: Writing, index: int, answer: Answered) -> dict[str, Any]:
    text, calls = writing.calls.read(answer.text) if writing.calls is not None else (answer.text, [])
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    finish = answer.finish
    if calls:
        message |= {"content": text or None, "tool_calls": [_call(call) for call in calls]}
        finish = _finish_of_calls(finish)
    logprobs = {"content": told_tokens(writing, answer.chosen), "refusal": None} if body.logprobs else None
    return {"index": index, "message": message, "finish_reason": finish, "logprobs": logprobs}


def _call(call: dict[str, Any]) -> dict[str, Any]:
    return {"id": new_id("call_"), "type": "function", "function": call}


def _finish_of_calls(finish: str) -> str:
    """An answer that was cut may lack further calls: that it was cut is told first."""
    return "tool_calls" if finish == "stop" else finish


@dataclass(slots=True)
class _Stream:
    """The chunks of one request."""

    body: ChatRequest
    writing: Writing
    name: str = field(default_factory=lambda: new_id("chatcmpl-"))
    created: int = field(default_factory=now)
    tokens: dict[int, int] = field(default_factory=dict)
    held: dict[int, list[Written]] = field(default_factory=dict)  # may hold calls, told when they are complete

    def response(self, spend: Any) -> Response:
        async def close() -> None:
            spend(self.writing)
            await self.writing.close()

        return Events(self.events(), close)

    async def events(self) -> AsyncIterator[bytes]:
        for index in range(self.body.n or 1):
            yield self._chunk(index, {"role": "assistant", "content": "", "refusal": None})
        async for index, piece in self.writing.pieces():
            self.tokens[index] = piece.tokens
            if self.writing.calls is not None:
                self.held.setdefault(index, []).append(piece)
                if piece.finish is not None:
                    for each in self._with_calls(index, piece.finish):
                        yield each
                continue
            if piece.text or (self.body.logprobs and piece.chosen):
                yield self._chunk(index, {"content": piece.text}, chosen=piece.chosen)
            if piece.finish is not None:
                yield self._chunk(index, {}, finish=piece.finish)
        if self.body.tells_usage:
            spent = usage(self.writing.prompt_tokens, sum(self.tokens.values()))
            yield event({**self._head(), "choices": [], "usage": spent})
        yield DONE

    def _with_calls(self, index: int, finish: str) -> list[bytes]:
        assert self.writing.calls is not None
        held = self.held.pop(index)
        text, calls = self.writing.calls.read("".join(piece.text for piece in held))
        chosen = [token for piece in held for token in piece.chosen]
        deltas: list[dict[str, Any]] = [{"content": text}] if text or (self.body.logprobs and chosen) else []
        if calls:
            deltas.append({"tool_calls": [{"index": place, **_call(call)} for place, call in enumerate(calls)]})
        told = [self._chunk(index, delta, chosen=() if place else chosen) for place, delta in enumerate(deltas)]
        return [*told, self._chunk(index, {}, finish=_finish_of_calls(finish) if calls else finish)]

    def _head(self) -> dict[str, Any]:
        return {**_head(self.body, self.name, "chat.completion.chunk"), "created": self.created}

    def _chunk(self, index: int, delta: dict[str, Any], *, chosen: Any = (), finish: str | None = None) -> bytes:
        tokens: tuple[Chosen, ...] = tuple(chosen)
        logprobs = (
            {"content": told_tokens(self.writing, tokens), "refusal": None} if self.body.logprobs and tokens else None
        )
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        more = {"usage": None} if self.body.tells_usage else {}
        return event({**self._head(), "choices": [choice], **more})
