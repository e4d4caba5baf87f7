"""What answers requests: a name becomes a model, which is loaded or waited for and answers in turns with others."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from burnish.errors import DataProblemError, ServiceError
from burnish.lifecycle.environment import default_threads
from burnish.lifecycle.served_models import Found, Loader, adapter_called, find_model, takes_long, upstreams_of
from burnish.lifecycle.service import Service
from burnish.model.template import RefusedConversationError
from burnish.registry.served import is_served
from burnish.serving.answer import Prompt, prompt_of
from burnish.serving.choosing import Choice, Chosen
from burnish.serving.decoding import Asked, Written
from burnish.serving.pool import Pool
from burnish.serving.relayed import Model, Relayed, RelayedVectors, Talker
from burnish.serving.speaking import Answers, Reader, Speaker, wrong_kind
from burnish.serving.spelling import TokenTexts
from burnish.serving.tool_calls import CallForm, call_form
from burnish.serving.turns import Turns
from burnish.serving.waiting import Ticket, busy, stopping
from burnish.settings import settings

REMEMBERED_SECONDS = 1.0  # that the meaning of a name is known without asking the database
REMEMBERED = 4_096
AT_ONCE_CHARACTERS = 1_000  # of texts that are made tokens at once: it takes less than to hand them to a thread
READING_THREADS = 4  # that render templates and make tokens of texts
MEMORY_SHARE = 0.5  # of the machine, for models, unless the settings say otherwise
CHAT, COMPLETE, EMBED, PREDICT = "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/burnish/predict"

Result = TypeVar("Result")
Spend = Callable[[int], None]


def unpaid(tokens: int) -> None:
    """Where nobody counts tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How an answer is to be written.

    Attributes:
        answers: to each prompt.
        max_new_tokens: None: as many as the model has room for.
        ends: further tokens that end an answer.
        ignores_ends: whether the model's own tokens that end an answer do not.
        salt: requests with another one share no beginnings of prompts.
    """

    answers: int = 1
    max_new_tokens: int | None = None
    choice: Choice = field(default_factory=Choice)
    stops: Sequence[str] = ()
    streams: bool = False
    ends: frozenset[int] = frozenset()
    ignores_ends: bool = False
    salt: str = ""


@dataclass(slots=True)
class Writing:
    """Answers that are being written; must be closed.

    Attributes:
        token_texts: token -> its text.
        calls: how this model writes the call of a tool; None where tools were not given.
    """

    prompt_tokens: int
    token_texts: TokenTexts
    calls: CallForm | None
    _answers: Answers[Written]
    _stack: AsyncExitStack

    def pieces(self) -> AsyncIterator[tuple[int, Written]]:
        """Which answer, and more of it."""
        return self._answers.pieces()

    @property
    def spent_tokens(self) -> int:
        """Prompt and answers as far as they were computed, whether anybody read them or not."""
        made = self._answers.made
        return 0 if made is None else self.prompt_tokens + made

    async def close(self) -> None:
        """Frees the places of what is not finished, and the model."""
        self._answers.cancel()
        await self._stack.aclose()


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer."""

    text: str
    finish: str
    tokens: int
    chosen: Sequence[Chosen]


async def whole(writing: Writing, count: int) -> list[Answered]:
    """All answers, when they are finished."""
    texts, chosen = [""] * count, [[] for _ in range(count)]  # type: list[str], list[list[Chosen]]
    last: list[Written | None] = [None] * count
    async for index, piece in writing.pieces():
        texts[index] += piece.text
        chosen[index] += piece.chosen
        last[index] = piece
    return [
        Answered(text, str(end.finish), end.tokens, tokens)
        for text, end, tokens in zip(texts, last, chosen, strict=True)
        if end is not None
    ]


class Inference:
    """Answers requests to the models of a service.

    Args:
        memory_bytes: that models may take; None: as the settings say, else half of the machine.
        limit: requests that may wait for one model.
        seconds: after which a request is given up.
        threads: that a product is spread over; None: as the settings say, else one less than there are cores, which
            is left to the loop: products that wait for a core that is busy cost more than they win.
    """

    def __init__(
        self,
        service: Service,
        *,
        memory_bytes: int | None = None,
        limit: int | None = None,
        seconds: float | None = None,
        threads: int | None = None,
    ) -> None:
        chosen = settings()
        self.service = service
        self.seconds = seconds if seconds is not None else chosen.serve_seconds
        self._turns = Turns(threads or chosen.threads or max(1, default_threads() - 1))
        self._upstreams = upstreams_of(service)
        self._loader = Loader(self._turns, limit if limit is not None else chosen.serve_queue, self._upstreams)
        self.pool: Pool[Model] = Pool(memory_bytes or chosen.serve_memory_bytes or _share_of_machine())
        self._threads = ThreadPoolExecutor(READING_THREADS, "burnish-reading")
        self._verifying = ThreadPoolExecutor(1, "burnish-verifying")  # reads all bytes of models: nobody else's thread
        self._begun: dict[Hashable, asyncio.Task[Any]] = {}
        self._loading: Counter[str] = Counter()  # requests that wait for a model to be loaded
        self._known: dict[tuple[str, str], tuple[float, Found]] = {}
        self._running = 0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def chat(
        self,
        project: str,
        name: str,
        messages: Sequence[Mapping[str, Any]],
        wish: Wish,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Writing:
        """Begins to answer a conversation.

        Raises:
            ServiceError: for a model that does not talk, a conversation that its template refuses or that is too
                long, too many waiting requests; also [models/not-found].
        """
        prompt = prompt_of(0, {"messages": list(messages), "tools": tools})

        def ids_of(speaker: Talker) -> list[Sequence[int]]:
            return [_conversation_ids(speaker, name, prompt)]

        return await self._write(project, name, CHAT, ids_of, wish, tools=bool(tools), stripped=True)

    async def complete(self, project: str, name: str, prompts: Sequence[str | Sequence[int]], wish: Wish) -> Writing:
        """Begins to go on texts as they are, or their tokens.

        Raises:
            ServiceError: as `chat`.
        """

        def ids_of(speaker: Talker) -> list[Sequence[int]]:
            return [_text_ids(speaker, index, prompt) for index, prompt in enumerate(prompts)]

        return await self._write(project, name, COMPLETE, ids_of, wish, tools=False, stripped=False)

    async def embed(
        self, project: str, name: str, inputs: Sequence[str | Sequence[int]], spend: Spend = unpaid
    ) -> tuple[list[Any], int]:
        """(D,) float32 of length 1 for each text, and how many tokens they have.

        Args:
            spend: told of the tokens when they are computed, also when nobody waits for the answer any more.

        Raises:
            ServiceError: for a model that makes no vectors; [models/not-found], [service/busy], [service/deadline].
        """
        found = await self._find(project, name)
        if not found.embeds:
            raise wrong_kind(name, found.task, "make vectors", CHAT if found.speaks else PREDICT)
        return await self._read(found, inputs, spend, vectors=True)

    async def predict(
        self, project: str, name: str, rows: Sequence[Any], spend: Spend = unpaid
    ) -> tuple[list[Any], int, str]:
        """What the model says of each row, how many tokens they have, and its task.

        Args:
            spend: as for `embed`.

        Raises:
            ServiceError: for a model that talks; [models/not-found], [service/busy], [service/deadline].
            DataProblemError: for a row that cannot be read.
        """
        found = await self._find(project, name)
        if found.speaks or found.base is not None:
            raise wrong_kind(name, found.task, "predict", CHAT if found.speaks else EMBED)
        answers, tokens = await self._read(found, rows, spend, vectors=False)
        return answers, tokens, found.task

    def forget(self, name: str) -> None:
        """The name means something else from now on, or nothing."""
        for key in [key for key in self._known if key[1] == name]:
            del self._known[key]

    def unload(self, version: str) -> None:
        """Processes outside forget the adapter of a version that no name means any more; not in the loop's thread."""
        if self._upstreams and not is_served(self.service.registry, version):
            for upstream in self._upstreams.values():
                upstream.unload_adapter(adapter_called(f"version:{version}"))

    def figures(self) -> list[tuple[str, dict[str, str], float]]:
        """For the metrics."""
        return [
            ("burnish_models_loaded", {}, float(len(self.pool.keys))),
            ("burnish_models_bytes", {}, float(self.pool.size_bytes)),
            ("burnish_inference_running", {}, float(self._running)),
            *(("burnish_upstream_asked", {"upstream": u.name}, float(u.asked)) for u in self._upstreams.values()),
        ]

    async def drain(self, seconds: float = 25.0) -> bool:
        """Takes nothing new, waits for what is being answered, and stops; whether all was finished."""
        self._stopping = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
            finished = True
        except TimeoutError:
            finished = False
        await self.pool.close()
        for upstream in self._upstreams.values():
            await upstream.close()
        await asyncio.to_thread(self._turns.stop)
        for threads in (self._threads, self._verifying):
            threads.shutdown(wait=False, cancel_futures=True)
        return finished

    async def _write(
        self,
        project: str,
        name: str,
        route: str,
        ids_of: Callable[[Talker], list[Sequence[int]]],
        wish: Wish,
        *,
        tools: bool,
        stripped: bool,
    ) -> Writing:
        found = await self._find(project, name)
        if not found.speaks:
            raise wrong_kind(name, found.task, "talk", EMBED if found.embeds else PREDICT)
        async with AsyncExitStack() as stack:
            self._enter(stack)
            model = await self._hold(stack, found, vectors=False)
            assert isinstance(model, Speaker | Relayed)
            if any(token >= model.words for token in wish.choice.bias):
                raise _bad("logit_bias", f"this model has {model.words:,} tokens")
            prompts = await self._in_thread(lambda: ids_of(model))
            if len(prompts) * wish.answers > model.limit:
                raise _bad(
                    "n" if wish.answers > 1 else "prompt",
                    f"prompts times answers to each are {len(prompts) * wish.answers:,}; this server takes "
                    f"{model.limit:,} at once",
                )
            calls, special = await self._in_thread(lambda: _calls_of(model, name)) if tools else (None, False)
            asked = [
                Asked(
                    ids=ids,
                    ends=(frozenset() if wish.ignores_ends else model.ends) | wish.ends,
                    max_new_tokens=_room(model, ids, wish),
                    choice=wish.choice,
                    stops=wish.stops,
                    branch=place * wish.answers + branch,
                    tenant=f"{project}\0{wish.salt}" if wish.salt else project,
                    adapter=model.adapter,
                    streams=wish.streams,
                    stripped=stripped,
                    special=special,
                )
                for place, ids in enumerate(prompts)
                for branch in range(wish.answers)
            ]
            answers = model.ask(asked, seconds=self.seconds)
            texts = TokenTexts(model.tokenizer)
            return Writing(sum(map(len, prompts)), texts, calls, answers, stack.pop_all())
        raise AssertionError("unreachable")

    async def _read(self, found: Found, rows: Sequence[Any], spend: Spend, *, vectors: bool) -> tuple[list[Any], int]:
        async with AsyncExitStack() as stack:
            self._enter(stack)
            model = await self._hold(stack, found, vectors=vectors)
            if isinstance(model, RelayedVectors):
                tokens = await self._in_thread(lambda: model.tokens(rows))
                return await _paid(model.answer(rows, seconds=self.seconds), tokens, spend), tokens
            assert isinstance(model, Reader)
            prepare = model.batcher.model.prepare
            prepared = prepare(rows) if _is_short(rows) else await self._in_thread(lambda: prepare(rows))
            tokens = sum(each.tokens for each in prepared)
            return await _paid(model.answer(prepared, seconds=self.seconds), tokens, spend), tokens
        raise AssertionError("unreachable")

    def _enter(self, stack: AsyncExitStack) -> None:
        if self._stopping:
            raise stopping()
        self._running += 1
        self._idle.clear()
        stack.callback(self._leave)

    def _leave(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._idle.set()

    async def _hold(self, stack: AsyncExitStack, found: Found, *, vectors: bool) -> Model:
        key = f"{found.key}:vectors" if vectors and found.base is None else found.key
        if self._loading[key] >= self._loader.limit:
            raise busy()
        self._loading[key] += 1
        try:
            async with self._in_time():
                using: AbstractAsyncContextManager[Model] | None = self.pool.held(key)
                if using is None:
                    wanted = await self._once(key, lambda: self._loader.wanted(found, vectors=vectors))
                    using = self.pool.using(wanted)
                return await stack.enter_async_context(using)
        finally:
            self._loading[key] -= 1
            if not self._loading[key]:
                del self._loading[key]

    async def _find(self, project: str, name: str) -> Found:
        when, found = self._known.get((project, name), (0.0, None))
        if found is None or time.monotonic() - when > REMEMBERED_SECONDS:
            if takes_long(self.service, name):
                async with self._in_time():
                    found = await self._once((project, name), lambda: find_model(self.service, name, project))
            else:
                found = await self._in_thread(lambda: find_model(self.service, name, project))
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[project, name] = (time.monotonic(), found)
        return found

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Gives up what takes longer than a request may.

        Raises:
            ServiceError: [service/deadline].
        """
        try:
            async with asyncio.timeout(self.seconds) as limit:
                yield
        except TimeoutError as error:
            if limit.expired():
                raise Ticket.too_late() from error
            raise

    async def _once(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """What takes long, beside everything else, and one time for all who wait for the same."""
        task = self._begun.get(key)
        if task is None:
            task = self._begun[key] = asyncio.create_task(self._in_thread(work, self._verifying))
            task.add_done_callback(lambda done: self._ended(key, done))
        found: Result = await asyncio.shield(task)
        return found

    def _ended(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._begun[key]
        if not task.cancelled():
            task.exception()  # is known, also when nobody waits any more

    async def _in_thread(self, work: Callable[[], Result], threads: ThreadPoolExecutor | None = None) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads or self._threads, work)


async def _paid(answering: Awaitable[Result], tokens: int, spend: Spend) -> Result:
    """An answer, for which one pays also when one does not wait for it, but not when it fails."""
    try:
        found = await answering
    except asyncio.CancelledError:
        spend(tokens)
        raise
    spend(tokens)
    return found


def _conversation_ids(speaker: Talker, name: str, prompt: Prompt) -> list[int]:
    if speaker.masker is None:
        raise ServiceError(
            "service/no-template",
            f"The model '{name[:120]}' has no chat template: nothing says how a conversation becomes a text.",
            status=400,
            param="model",
            kind="model_not_supported",
            hint=f"let it go on texts at POST {COMPLETE}",
        )
    try:
        ids = speaker.masker.prompt(prompt.messages, prompt.tools)
    except RefusedConversationError as refused:
        raise DataProblemError(
            "predict/bad-prompt", f"the template refuses this conversation: {refused}", where="messages"
        ) from refused
    _require_known(speaker, ids, "messages", "the conversation")
    return ids


def _text_ids(speaker: Talker, index: int, prompt: str | Sequence[int]) -> Sequence[int]:
    if isinstance(prompt, str):
        ids: Sequence[int] = speaker.tokenizer.encode(prompt).ids
    else:
        ids = list(prompt)
    if not ids:
        raise _bad("prompt", f"prompt {index + 1} has no tokens")
    _require_known(speaker, ids, "prompt", f"prompt {index + 1}")
    return ids


def _require_known(speaker: Talker, ids: Sequence[int], param: str, what: str) -> None:
    """A tokenizer may have more tokens than the model has rows for; such a one would end the pass of all who are in."""
    words = speaker.words
    if any(not 0 <= token < words for token in ids):
        raise _bad(param, f"{what} has a token that is not one of the {words:,} of this model")


def _is_short(rows: Sequence[Any]) -> bool:
    """Whether all of it is a few words; not so an image, however short, which can unpack to a large one."""
    texts = [row for row in rows[:8] if isinstance(row, str) and not row.startswith("data:")]
    return len(texts) == len(rows) and sum(map(len, texts)) <= AT_ONCE_CHARACTERS


def _room(speaker: Talker, ids: Sequence[int], wish: Wish) -> int:
    """Tokens that the answer may have."""
    room = speaker.context - len(ids)
    if room < 1:
        raise ServiceError(
            "service/too-long",
            f"This model reads {speaker.context:,} tokens. Your prompt has {len(ids):,}, which leaves no room for an "
            "answer.",
            status=400,
            param="messages",
            kind="context_length_exceeded",
        )
    return room if wish.max_new_tokens is None else min(room, wish.max_new_tokens)


def _calls_of(speaker: Talker, name: str) -> tuple[CallForm, bool]:
    """How it writes a call, and whether special tokens are part of that."""
    found = call_form(speaker.masker.template) if speaker.masker is not None else None
    special = found.needs_special(speaker.tokenizer) if found is not None else None
    if found is None or special is None:
        raise ServiceError(
            "service/no-tools",
            f"The template of the model '{name[:120]}' does not write calls of tools in a form that can be read back.",
            status=400,
            param="tools",
            kind="unsupported_parameter",
        )
    return found, special


def _bad(param: str, message: str) -> ServiceError:
    return ServiceError("service/bad-value", message, status=400, param=param, kind="invalid_value")


def _share_of_machine() -> int:
    import psutil

    return int(MEMORY_SHARE * psutil.virtual_memory().total)
