"""The line before a model: bounded, with a deadline for each request, safe to use from several threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from burnish.errors import ServiceError

Told = TypeVar("Told")
Question = TypeVar("Question")

RETRY_AFTER_SECONDS = 1.0


class Ticket(Generic[Told]):
    """One request that is waited for.

    Args:
        asked: what the model needs to know.
        told: called with each piece of the answer, and whether it is the last, in the thread that computes.
        failed: called instead with what went wrong.
        deadline: seconds of time.monotonic() after which the answer is not waited for; None: for ever.
    """

    def __init__(
        self,
        asked: Any,
        told: Callable[[Told, bool], None],
        failed: Callable[[Exception], None],
        *,
        deadline: float | None = None,
    ) -> None:
        self.asked = asked
        self._told = told
        self._failed = failed
        self._deadline = deadline
        self.gone = False  # nobody waits any more, or all was said
        self.made: Sequence[Any] | None = None  # what was computed of the answer so far; None: nobody has begun

    def tell(self, piece: Told, *, last: bool) -> None:
        if not self.gone:
            self.gone = last
            self._told(piece, last)

    def fail(self, error: Exception) -> None:
        if not self.gone:
            self.gone = True
            self._failed(error)

    def cancel(self) -> None:
        """Nobody waits any more: its place is free at the next step."""
        self.gone = True

    def late(self, now: float) -> bool:
        return self._deadline is not None and now > self._deadline

    @staticmethod
    def too_late() -> ServiceError:
        return ServiceError(
            "service/deadline",
            "the answer did not come in the time that a request has",
            status=503,
            retry_after_seconds=RETRY_AFTER_SECONDS,
            hint="ask for fewer tokens, or again when fewer requests are waiting",
        )


class Waiting(Generic[Question, Told]):
    """Requests in line for a model.

    Args:
        limit: how many may wait.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._line: deque[Ticket[Told]] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._line)

    def join(self, *tickets: Ticket[Told]) -> None:
        """The end of the line, for all of them or none.

        Raises:
            ServiceError: [service/busy] when too many wait already.
        """
        with self._lock:
            if len(self._line) + len(tickets) > self.limit:
                raise busy()
            self._line.extend(tickets)

    def again(self, ticket: Ticket[Told]) -> None:
        """The end of the line for one that was answered in part, however long the line is."""
        with self._lock:
            self._line.append(ticket)

    def head(self) -> Ticket[Told] | None:
        """Who is next; those who do not wait any more are passed over."""
        with self._lock:
            while self._line and self._line[0].gone:
                self._line.popleft()
            return self._line[0] if self._line else None

    def fairest(self, rank: Callable[[Any], int]) -> Ticket[Told] | None:
        """Who is next when those whose question ranks lowest go first, among equals in their order."""
        with self._lock:
            return min((each for each in self._line if not each.gone), key=lambda each: rank(each.asked), default=None)

    def take(self, ticket: Ticket[Told]) -> None:
        """Takes one out of the line."""
        with self._lock:
            self._line.remove(ticket)

    def pop(self) -> Ticket[Told]:
        with self._lock:
            return self._line.popleft()

    def drop_those_gone(self, now: float | None = None) -> None:
        """Ends the waiting of those whose time is over."""
        moment = time.monotonic() if now is None else now
        with self._lock:
            late = [ticket for ticket in self._line if ticket.late(moment)]
            if late or any(ticket.gone for ticket in self._line):
                self._line = deque(ticket for ticket in self._line if not ticket.gone and ticket not in late)
        for ticket in late:
            ticket.fail(ticket.too_late())

    def fail(self, error: Exception) -> None:
        """Everybody in line gets an error."""
        with self._lock:
            tickets, self._line = list(self._line), deque()
        for ticket in tickets:
            ticket.fail(error)


def busy() -> ServiceError:
    return ServiceError(
        "service/busy",
        "too many requests are waiting for this model",
        status=429,
        kind="rate_limit_exceeded",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def stopping() -> ServiceError:
    return ServiceError("service/stopping", "the service is stopping", status=503, retry_after_seconds=5.0)
