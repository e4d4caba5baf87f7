"""Models that are computed outside: read and spelled here, as if they were computed here."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from burnish.errors import DataProblemError
from burnish.serving.choosing import Chosen
from burnish.serving.decoding import BEFORE_TOKENS, Asked, Written
from burnish.serving.speaking import Answers, Reader, Speaker
from burnish.serving.spelling import Spelling
from burnish.serving.upstream import AT_ONCE, UnknownThereError, Upstream, broken, unknown_there, vectors_of
from burnish.serving.waiting import Ticket, busy
from burnish.task.mask import Masker

HELD_BYTES = 32 << 20  # a tokenizer and its template, about
TOKEN = "token_id:"  # noqa: S105  # what a token is called whose text is not asked for
SEEDS = 1 << 63


@dataclass(slots=True)
class Relayed:
    """A language model, or an adapter beside one, that is computed outside.

    Attributes:
        called: over there.
        folder: of the adapter; None for the base.
        limit: answers that may wait.
        others as in `Speaker`.
    """

    upstream: Upstream
    called: str
    tokenizer: Any
    masker: Masker | None
    ends: frozenset[int]
    context: int
    words: int
    limit: int
    folder: str | None = None

    adapter: str | None = None  # beside a base that is computed here

    @property
    def size_bytes(self) -> int:
        return HELD_BYTES

    def close(self) -> None:
        """Nothing is held here; adapters stay over there until their model is deleted."""

    def load(self) -> None:
        """Has the adapter loaded over there. Not in the thread of the loop."""
        if self.folder is not None:
            self.upstream.load_adapter(self.called, self.folder)

    def ask(self, asked: Sequence[Asked], *, seconds: float) -> Answers[Written]:
        """Asks for answers; they come as they are written.

        Raises:
            ServiceError: [service/busy].
        """
        if self.upstream.asked + len(asked) > AT_ONCE + self.limit:
            raise busy()
        answers = _Relaying(asked, seconds=seconds)
        self.upstream.asked += len(asked)
        for ticket in answers.tickets:
            task = asyncio.create_task(self._answer(ticket, seconds))
            task.add_done_callback(self._done)
            answers.tasks.append(task)
        return answers

    def _done(self, task: asyncio.Task[None]) -> None:
        self.upstream.asked -= 1

    async def _answer(self, ticket: Ticket[Written], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds) as limit, self.upstream.places:
                try:
                    await self._relay(ticket)
                except UnknownThereError:
                    if self.folder is None:
                        raise unknown_there(self.upstream.name) from None
                    await asyncio.to_thread(self.load)  # it was started anew
                    await self._relay(ticket)
        except UnknownThereError:
            ticket.fail(unknown_there(self.upstream.name))
        except TimeoutError as error:
            ticket.fail(ticket.too_late() if limit.expired() else error)
        except Exception as error:
            ticket.fail(error)

    async def _relay(self, ticket: Ticket[Written]) -> None:
        asked: Asked = ticket.asked
        answer = _Answer(asked, self._spelling(asked))
        async with aclosing(self._pieces(asked)) as pieces:
            async for tokens, finish in pieces:
                ticket.made = answer.chosen
                written = answer.more(tokens, finish)
                if written is not None:
                    ticket.tell(written, last=written.finish is not None)
                    if written.finish is not None:
                        return
        raise broken(self.upstream.name, "an answer without an end")

    def _spelling(self, asked: Asked) -> Spelling:
        before = () if asked.stripped else asked.ids[-BEFORE_TOKENS:]
        return Spelling(self.tokenizer, asked.stops, stripped=asked.stripped, before=before, special=asked.special)

    async def _pieces(self, asked: Asked) -> AsyncGenerator[tuple[list[Chosen], str | None]]:
        """Tokens as they come, and how the answer ended."""
        name = self.upstream.name
        async with aclosing(self.upstream.events("completions", self._body(asked))) as events:
            async for event in events:
                if event is None:
                    yield [], None
                    continue
                choices = event.get("choices") if isinstance(event, dict) else None
                if not isinstance(choices, list):
                    raise broken(name, "an event that is none")
                for choice in choices:
                    finish = choice.get("finish_reason") if isinstance(choice, dict) else "?"
                    if finish not in (None, "stop", "length"):
                        raise broken(name, "an answer that was broken off")
                    yield self._tokens(choice, asked), finish

    def _tokens(self, choice: Mapping[str, Any], asked: Asked) -> list[Chosen]:
        ids = choice.get("token_ids") or []
        if not isinstance(ids, list) or not all(type(each) is int and 0 <= each < self.words for each in ids):
            raise broken(self.upstream.name, "tokens that the model does not have")
        if choice.get("token_ids") is None and choice.get("text"):
            raise broken(self.upstream.name, "text without its tokens (return_token_ids)")
        if asked.choice.top_logprobs is None:
            return [Chosen(each) for each in ids]
        try:
            told = choice["logprobs"] if ids else {"token_logprobs": [], "top_logprobs": []}
            likely = [_likely(each) for each in told["token_logprobs"][: len(ids)]]
            tops = [self._top(each, asked.choice.top_logprobs) for each in told["top_logprobs"][: len(ids)]]
            made = [Chosen(*each) for each in zip(ids[: len(likely)], likely, tops, strict=True)]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise broken(self.upstream.name, "no log-probabilities") from error
        if len(made) < len(ids) and not (len(made) == len(ids) - 1 and ids[-1] in asked.ends):
            raise broken(self.upstream.name, "too few log-probabilities")
        return [*made, *(Chosen(each) for each in ids[len(made) :])]

    def _top(self, told: Mapping[str, Any], count: int) -> list[tuple[int, float]]:
        """The likeliest tokens, best first.

        Raises:
            ValueError, TypeError: for what is none.
        """
        found = [(int(name.removeprefix(TOKEN)), _likely(value)) for name, value in told.items()]
        if any(not 0 <= token < self.words for token, _ in found):
            raise ValueError("no token")
        return sorted(found, key=lambda each: -each[1])[:count]

    def _body(self, asked: Asked) -> dict[str, Any]:
        choice = asked.choice
        body: dict[str, Any] = {
            "model": self.called,
            "prompt": list(asked.ids),
            "max_tokens": asked.max_new_tokens,
            "stream": True,
            "temperature": choice.temperature,
            "top_p": choice.top_p,
            "seed": (choice.seed + asked.branch) % SEEDS,
            "presence_penalty": choice.presence_penalty,
            "frequency_penalty": choice.frequency_penalty,
            "return_token_ids": True,
            "stop_token_ids": sorted(asked.ends),
            "ignore_eos": True,  # what ends an answer is what ended one in training
            "cache_salt": hashlib.blake2b(asked.tenant.encode(), key=self.upstream.salt, digest_size=32).hexdigest(),
        }
        if choice.bias:
            body["logit_bias"] = {str(token): amount for token, amount in choice.bias.items()}
        if choice.top_logprobs is not None:
            body |= {"logprobs": choice.top_logprobs, "return_tokens_as_token_ids": True}
        return body


@dataclass(slots=True)
class RelayedVectors:
    """An encoder that is computed outside.

    Attributes:
        max_length: tokens of a text that it reads, special ones included.
    """

    upstream: Upstream
    tokenizer: Any
    max_length: int
    limit: int

    @property
    def size_bytes(self) -> int:
        return HELD_BYTES

    def close(self) -> None:
        """Nothing is held here."""

    def tokens(self, texts: Sequence[str | Sequence[int]]) -> int:
        """How many the texts have.

        Raises:
            DataProblemError: [predict/bad-text].
        """
        special = self.tokenizer.num_special_tokens_to_add(is_pair=False)
        found = 0
        for index, text in enumerate(texts):
            count = len(self.tokenizer.encode(text).ids) if isinstance(text, str) else len(text) + special
            if not 0 < count <= self.max_length:
                raise DataProblemError(
                    "predict/bad-text",
                    f"the text has {count:,} tokens; 1 to {self.max_length:,} are read",
                    where=f"item {index + 1}",
                )
            found += count
        return found

    async def answer(self, texts: Sequence[str | Sequence[int]], *, seconds: float) -> list[np.ndarray]:
        """(D,) float32 of length 1 for each text.

        Raises:
            ServiceError: [service/busy]; [service/deadline]; [upstream/...].
        """
        if self.upstream.asked >= AT_ONCE + self.limit:
            raise busy()
        given = [text if isinstance(text, str) else list(text) for text in texts]
        body = {"model": self.upstream.name, "input": given, "encoding_format": "base64"}
        self.upstream.asked += 1
        try:
            async with asyncio.timeout(seconds), self.upstream.places:
                return vectors_of(await self.upstream.whole("embeddings", body), len(given), self.upstream.name)
        except UnknownThereError:
            raise unknown_there(self.upstream.name) from None
        except TimeoutError:
            raise Ticket.too_late() from None
        finally:
            self.upstream.asked -= 1


Talker = Speaker | Relayed
Model = Talker | Reader | RelayedVectors


@dataclass
class _Relaying(Answers[Written]):
    """Answers that tasks of this loop ask for: they end when nobody waits any more."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def cancel(self) -> None:
        Answers.cancel(self)
        for task in self.tasks:
            task.cancel()


@dataclass(slots=True)
class _Answer:
    """One answer as it grows; told in the same pieces as one that is computed here."""

    asked: Asked
    spelling: Spelling
    chosen: list[Chosen] = field(default_factory=list)
    told: int = 0

    def more(self, tokens: Sequence[Chosen], finish: str | None) -> Written | None:
        """What there is to tell with more tokens."""
        text, ended = "", None
        for each in tokens:
            if each.token in self.asked.ends:
                ended = "stop"
                break
            self.chosen.append(each)
            text += self.spelling.push(each.token)
            if self.spelling.stopped:
                ended = "stop"
            elif len(self.chosen) >= self.asked.max_new_tokens:
                ended = "length"
            if ended is not None:
                break
        ended = ended or finish
        if ended is not None:
            text += self.spelling.finish()
        if not text and ended is None and (self.asked.choice.top_logprobs is None or self.told == len(self.chosen)):
            return None
        new = tuple(self.chosen[self.told :])
        self.told = len(self.chosen)
        return Written(text, new, ended, len(self.chosen))


def _likely(value: Any) -> float:
    """The logarithm of a probability; what has none is as unlikely as can be told.

    Raises:
        ValueError, TypeError: for what is none.
    """
    number = float(value)
    if not number <= 1.0:  # also what is no number; roundings may be a little above 0
        raise ValueError("no probability")
    return max(number, -9999.0)
