"""/v1/responses: the newer form of a conversation, text in and text out; nothing of it is kept here."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field
from starlette.requests import Request

from burnish.api.asked import Models, Sampled, bad, new_id, now, unsupported
from burnish.api.routing import INFER, By, allow, router
from burnish.api.streams import Events, event, unless_gone
from burnish.lifecycle.inference import Wish, Writing, whole
from burnish.serving.choosing import Choice

ROUTER = router()
REFUSED = ("previous_response_id", "conversation", "prompt", "background", "include", "max_tool_calls", "reasoning")
TEXT_PARTS = ("input_text", "output_text", "text")


class ResponseRequest(Sampled):
    """The body."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None
    truncation: str | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=0)
    stream_options: dict[str, Any] | None = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None
    include: list[str] | None = None
    max_tool_calls: int | None = None
    reasoning: Any = None

    def require_possible(self) -> None:
        """Raises ServiceError [service/unsupported] naming what this server cannot do."""
        for name in REFUSED:
            if getattr(self, name):
                raise unsupported(name, "not supported here")
        if self.tools:
            raise unsupported("tools", "not supported on this route; /v1/chat/completions takes them")
        if self.truncation not in (None, "disabled"):
            raise unsupported("truncation", "a conversation is never shortened silently")
        if self.text is not None and (self.text.get("format") or {"type": "text"}).get("type") != "text":
            raise unsupported("text.format", "only text is written here; JSON cannot be guaranteed")

    def messages(self) -> list[dict[str, Any]]:
        """The conversation.

        Raises:
            ServiceError: [service/bad-value].
        """
        begin = [{"role": "system", "content": self.instructions}] if self.instructions else []
        if isinstance(self.input, str):
            return [*begin, {"role": "user", "content": self.input}]
        return [*begin, *(_message(item) for item in self.input)]


def _message(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type", "message") != "message":
        raise unsupported("input", f'items of the type "{str(item.get("type"))[:40]}" are not supported here')
    content = item.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, dict) and part.get("type") in TEXT_PARTS for part in content):
            raise unsupported("input", "only text is read here")
        content = "\n".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise bad("input", "a message without content")
    return {"role": item.get("role"), "content": content}


@ROUTER.post("/v1/responses")
@allow(INFER, seconds=None, changes=False)
async def create(body: ResponseRequest, request: Request, caller: By, inference: Models) -> Any:
    body.require_possible()
    request.state.object = body.model[:120]
    choice = Choice(
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=secrets.randbelow(2**31),
    )
    wish = Wish(max_new_tokens=body.max_output_tokens, choice=choice, streams=bool(body.stream))
    told = _Told(body)

    def spend(writing: Writing) -> None:
        request.app.state.meter.spend(caller, writing.spent_tokens)

    if body.stream:
        writing = await inference.chat(caller.project, body.model, body.messages(), wish)

        async def close() -> None:
            spend(writing)
            await writing.close()

        return Events(told.events(writing), close)

    async def answered() -> dict[str, Any]:
        writing = await inference.chat(caller.project, body.model, body.messages(), wish)
        try:
            (found,) = await whole(writing, 1)
        finally:
            spend(writing)
            await writing.close()
        told.text, told.tokens = found.text, found.tokens
        return told.response(_status(found.finish), writing.prompt_tokens)

    return await unless_gone(request, answered())


def _status(finish: str) -> str:
    return "completed" if finish == "stop" else "incomplete"


@dataclass(slots=True)
class _Told:
    """One response as it grows."""

    body: ResponseRequest
    name: str = field(default_factory=lambda: new_id("resp_"))
    message: str = field(default_factory=lambda: new_id("msg_"))
    created: float = field(default_factory=lambda: float(now()))
    text: str = ""
    tokens: int = 0
    number: int = -1  # of the newest event

    def response(self, status: str, prompt_tokens: int = 0) -> dict[str, Any]:
        """The object of the protocol."""
        body, ended = self.body, status in ("completed", "incomplete")
        spent = {
            "input_tokens": prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt_tokens + self.tokens,
        }
        return {
            "id": self.name,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": [self._item(status)] if ended else [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "usage": spent if ended else None,
        }

    async def events(self, writing: Writing) -> AsyncIterator[bytes]:
        """Everything that happens to it, in order."""
        yield self._event("response.created", response=self.response("in_progress"))
        yield self._event("response.in_progress", response=self.response("in_progress"))
        yield self._event("response.output_item.added", output_index=0, item=self._item("in_progress"))
        place = {"item_id": self.message, "output_index": 0, "content_index": 0}
        yield self._event("response.content_part.added", **place, part=_part(""))
        finish = "stop"
        async for _, piece in writing.pieces():
            self.tokens = piece.tokens
            if piece.text:
                self.text += piece.text
                yield self._event("response.output_text.delta", **place, delta=piece.text, logprobs=[])
            finish = piece.finish or finish
        status = _status(finish)
        yield self._event("response.output_text.done", **place, text=self.text, logprobs=[])
        yield self._event("response.content_part.done", **place, part=_part(self.text))
        yield self._event("response.output_item.done", output_index=0, item=self._item(status))
        yield self._event(f"response.{status}", response=self.response(status, writing.prompt_tokens))

    def _item(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [_part(self.text)]
        return {"id": self.message, "type": "message", "status": status, "role": "assistant", "content": content}

    def _event(self, kind: str, **more: Any) -> bytes:
        self.number += 1
        return event({"type": kind, "sequence_number": self.number, **more}, kind)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
