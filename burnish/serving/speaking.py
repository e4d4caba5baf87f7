"""Models as the service holds them: one that writes token by token, and one that answers rows in batches.

Requests come from the event loop, passes are computed in the thread of `Turns`; what is told there arrives here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from burnish.errors import ServiceError
from burnish.serving.batching import Batcher, Prepared
from burnish.serving.decoding import Asked, Decoder, Written
from burnish.serving.turns import Turns
from burnish.serving.waiting import Ticket
from burnish.task.mask import Masker

Told = TypeVar("Told")


@dataclass(slots=True)
class Speaker:
    """A language model, or an adapter beside one that others share.

    Attributes:
        masker: template and tokenizer of the training; None for a base without a template.
        ends: tokens that end an answer.
        context: tokens it reads, prompt and answer together.
        adapter: its name in the decoder; None: it has the decoder for itself, or is the base.
        adapter_bytes: that it takes beside the base.
    """

    decoder: Decoder
    turns: Turns
    tokenizer: Any
    masker: Masker | None
    ends: frozenset[int]
    context: int
    adapter: str | None = None
    adapter_bytes: int = 0

    @property
    def words(self) -> int:
        """Tokens it knows."""
        return self.decoder.words

    @property
    def limit(self) -> int:
        """Answers that may wait for it."""
        return self.decoder.waiting.limit

    @property
    def size_bytes(self) -> int:
        return self.adapter_bytes if self.adapter is not None else self.decoder.size_bytes

    @property
    def waiting(self) -> int:
        return len(self.decoder.waiting)

    def close(self) -> None:
        adapter, decoder = self.adapter, self.decoder
        self.turns.call(decoder.close if adapter is None else lambda: decoder.remove_adapter(adapter))

    def ask(self, asked: Sequence[Asked], *, seconds: float) -> Answers[Written]:
        """Lines requests up; their answers come as they are written.

        Raises:
            ServiceError: [service/busy].
        """
        answers: Answers[Written] = Answers(asked, seconds=seconds)
        self.decoder.waiting.join(*answers.tickets)
        self.turns.wake(self.decoder.step)
        return answers


@dataclass(slots=True)
class Reader:
    """A model that answers rows."""

    batcher: Batcher
    turns: Turns

    @property
    def size_bytes(self) -> int:
        return self.batcher.size_bytes

    @property
    def waiting(self) -> int:
        return len(self.batcher.waiting)

    def close(self) -> None:
        self.turns.call(self.batcher.close)

    async def answer(self, prepared: Sequence[Prepared], *, seconds: float) -> list[Any]:
        """Answers rows that were prepared, in order.

        Raises:
            ServiceError: [service/busy]; [service/deadline]; and what the model raises.
        """
        answers: Answers[list[Any]] = Answers([prepared], seconds=seconds)
        self.batcher.waiting.join(*answers.tickets)
        self.turns.wake(self.batcher.step)
        try:
            return await answers.only()
        finally:
            answers.cancel()


@dataclass(slots=True)
class Answers(Generic[Told]):
    """What comes back for requests that were lined up together.

    Args:
        asked: one or several; each piece says which it belongs to.
        seconds: after which nothing is waited for.
    """

    asked: Sequence[Any]
    seconds: float
    tickets: list[Ticket[Told]] = field(init=False)
    _pieces: asyncio.Queue[tuple[int, Told | Exception, bool]] = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces = asyncio.Queue()
        deadline = time.monotonic() + self.seconds
        self.tickets = [self._ticket(index, each, deadline) for index, each in enumerate(self.asked)]

    def _ticket(self, index: int, asked: Any, deadline: float) -> Ticket[Told]:
        def arrived(piece: Told | Exception, last: bool) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._pieces.put_nowait, (index, piece, last))

        return Ticket(asked, arrived, lambda error: arrived(error, True), deadline=deadline)

    async def pieces(self) -> AsyncIterator[tuple[int, Told]]:
        """Which request, and what there is of its answer; until all are finished."""
        left = len(self.tickets)
        try:
            while left:
                index, piece, last = await self._pieces.get()
                if isinstance(piece, Exception):
                    raise piece
                left -= last
                yield index, piece
        finally:
            self.cancel()

    async def only(self) -> Told:
        """The one piece of the one request."""
        _, piece, _ = await self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    @property
    def made(self) -> int | None:
        """How many pieces of the answers were computed, told or not; None: nobody has begun."""
        begun = [ticket.made for ticket in self.tickets if ticket.made is not None]
        return sum(map(len, begun)) if begun else None

    def cancel(self) -> None:
        """Nobody waits any more: their places are free at the next pass."""
        for ticket in self.tickets:
            ticket.cancel()


def wrong_kind(name: str, task: str, wanted: str, instead: str) -> ServiceError:
    """The refusal of a model at a route for other ones."""
    return ServiceError(
        "service/wrong-route",
        f"The model '{name[:120]}' was made for {task}: it does not {wanted}.",
        status=400,
        param="model",
        kind="model_not_supported",
        hint=f"ask it at POST {instead}",
    )
