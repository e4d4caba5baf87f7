"""/v1/completions: a language model goes on texts as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse

from burnish.api.asked import FINGERPRINT, Drawn, Models, bad, new_id, now, unsupported, usage
from burnish.api.routing import INFER, By, allow, router
from burnish.api.streams import DONE, Events, event, unless_gone
from burnish.lifecycle.inference import Writing, whole
from burnish.serving.choosing import Chosen

ROUTER = router()
MOST_PROMPTS = 64
MOST_STOP_TOKENS = 64
Token = Annotated[int, Field(ge=0)]


class CompletionRequest(Drawn):
    """The body."""

    prompt: str | list[str] | list[Token] | list[list[Token]]
    max_tokens: int | None = Field(default=16, ge=1)
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool | None = False
    best_of: int | None = Field(default=None, ge=1, le=128)
    suffix: str | None = None
    return_token_ids: bool | None = None  # these five are vLLM's: a server in front of this one speaks in tokens
    return_tokens_as_token_ids: bool | None = None
    stop_token_ids: list[Token] | None = Field(default=None, max_length=MOST_STOP_TOKENS)
    ignore_eos: bool | None = None
    cache_salt: str | None = Field(default=None, min_length=1, max_length=128)

    @property
    def prompts(self) -> list[str | Sequence[int]]:
        """One or several.

        Raises:
            ServiceError: [service/bad-value].
        """
        given: Any = self.prompt
        one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        found: list[str | Sequence[int]] = [given] if one else list(given)
        if not 0 < len(found) <= MOST_PROMPTS:
            raise bad("prompt", f"1 to {MOST_PROMPTS} prompts")
        return found


@ROUTER.post("/v1/completions")
@allow(INFER, seconds=None, changes=False)
async def create(body: CompletionRequest, request: Request, caller: By, inference: Models) -> Any:
    for name in ("echo", "suffix"):
        if getattr(body, name):
            raise unsupported(name, "not supported here")
    if body.best_of not in (None, body.n or 1):
        raise unsupported("best_of", "not supported here")
    request.state.object = body.model[:120]
    prompts = body.prompts
    wish = replace(
        body.wish(max_new_tokens=body.max_tokens or 16, top_logprobs=body.logprobs),
        ends=frozenset(body.stop_token_ids or ()),
        ignores_ends=bool(body.ignore_eos),
        salt=body.cache_salt or "",
    )
    head = {"id": new_id("cmpl-"), "object": "text_completion", "created": now(), "model": body.model}
    head["system_fingerprint"] = FINGERPRINT

    def spend(writing: Writing) -> None:
        request.app.state.meter.spend(caller, writing.spent_tokens)

    if body.stream:
        writing = await inference.complete(caller.project, body.model, prompts, wish)
        spent = _Spent()

        async def close() -> None:
            spend(writing)
            await writing.close()

        return Events(_events(body, writing, head, spent), close)

    async def answered() -> dict[str, Any]:
        writing = await inference.complete(caller.project, body.model, prompts, wish)
        try:
            found = await whole(writing, len(prompts) * wish.answers)
        finally:
            spend(writing)
            await writing.close()
        told = usage(writing.prompt_tokens, sum(each.tokens for each in found))
        choices = [
            _choice(body, writing, index, each.text, each.chosen, each.finish) for index, each in enumerate(found)
        ]
        return {**head, "choices": choices, "usage": told}

    return JSONResponse(await unless_gone(request, answered()))


class _Spent(dict[int, int]):
    """Tokens of each answer."""


async def _events(
    body: CompletionRequest, writing: Writing, head: dict[str, Any], spent: _Spent
) -> AsyncIterator[bytes]:
    more = {"usage": None} if body.tells_usage else {}
    offsets: Counter[int] = Counter()  # characters of the tokens told
    async for index, piece in writing.pieces():
        spent[index] = piece.tokens
        if piece.text or piece.chosen or piece.finish:
            choice = _choice(body, writing, index, piece.text, piece.chosen, piece.finish, offsets[index])
            if body.logprobs is not None:
                offsets[index] += sum(len(writing.token_texts[each.token]) for each in piece.chosen)
            yield event({**head, "choices": [choice], **more})
    if body.tells_usage:
        yield event({**head, "choices": [], "usage": usage(writing.prompt_tokens, sum(spent.values()))})
    yield DONE


def _choice(
    body: CompletionRequest,
    writing: Writing,
    index: int,
    text: str,
    chosen: Sequence[Chosen],
    finish: str | None,
    offset: int = 0,
) -> dict[str, Any]:
    named = _by_number if body.return_tokens_as_token_ids else writing.token_texts.__getitem__
    logprobs = None if body.logprobs is None else _told(named, chosen, offset)
    more = {"token_ids": [each.token for each in chosen]} if body.return_token_ids else {}
    return {"index": index, "text": text, "finish_reason": finish, "logprobs": logprobs, **more}


def _told(named: Callable[[int], str], chosen: Sequence[Chosen], offset: int) -> dict[str, Any]:
    """Log-probabilities in the form of this older route; the first token stands at `offset` of the text."""
    tokens = [named(each.token) for each in chosen]
    offsets = [*accumulate(map(len, tokens[:-1]), initial=offset)] if tokens else []
    return {
        "tokens": tokens,
        "token_logprobs": [max(each.logprob or 0.0, -9999.0) for each in chosen],
        "top_logprobs": [_by_name(named, each.top) for each in chosen],
        "text_offset": offsets,
    }


def _by_number(token: int) -> str:
    return f"token_id:{token}"


def _by_name(named: Callable[[int], str], top: Sequence[tuple[int, float]]) -> dict[str, float]:
    """By their texts; of several with the same one, e.g. parts of characters, the further ones by their numbers."""
    found: dict[str, float] = {}
    for token, logprob in top:
        text = named(token)
        found[_by_number(token) if text in found else text] = logprob
    return found
