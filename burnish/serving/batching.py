"""Dynamic batches for everything that does not write token by token: what waits for a model is answered in one pass.

Nothing is held back to make a batch: when nobody else waits, a request is answered alone at once; while a pass runs,
others line up, and the next pass takes them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from burnish.serving.waiting import Ticket, Waiting, stopping

PASS_TOKENS = 4_096  # of the requests that one pass takes, at least one request
PASS_ROWS = 512


@dataclass(frozen=True, slots=True)
class Prepared:
    """One row, read by the task.

    Attributes:
        content: what the model computes with.
        tokens: it has.
    """

    content: Any
    tokens: int


class Answering(Protocol):
    """A model that answers rows."""

    def prepare(self, given: Sequence[Any]) -> list[Prepared]:
        """Reads rows, in any thread.

        Raises:
            DataProblemError: naming the row that cannot be read.
        """

    def answer(self, prepared: Sequence[Prepared]) -> list[Any]:
        """An answer to each row, in order; where passes are computed."""

    @property
    def size_bytes(self) -> int: ...


class Batcher:
    """Requests to one model; `step` is called again and again by whoever computes.

    Args:
        limit: requests that may wait.
    """

    def __init__(self, model: Answering, *, limit: int = 64) -> None:
        self.model = model
        self.waiting: Waiting[Sequence[Prepared], list[Any]] = Waiting(limit)

    @property
    def size_bytes(self) -> int:
        return self.model.size_bytes

    def step(self) -> bool:
        """One pass; whether there is more to do."""
        self.waiting.drop_those_gone()
        tickets = self._taken()
        if tickets:
            self._answer(tickets)
        return bool(self.waiting)

    def close(self) -> None:
        """Ends what is still asked for, with an error."""
        self.waiting.fail(stopping())

    def _taken(self) -> list[Ticket[list[Any]]]:
        """The requests of this pass, in their order."""
        tickets: list[Ticket[list[Any]]] = []
        rows = tokens = 0
        while (head := self.waiting.head()) is not None:
            rows += len(head.asked)
            tokens += sum(each.tokens for each in head.asked)
            if tickets and (rows > PASS_ROWS or tokens > PASS_TOKENS):
                break
            tickets.append(self.waiting.pop())
        return tickets

    def _answer(self, tickets: Sequence[Ticket[list[Any]]]) -> None:
        """Answers requests together; where that fails, each by itself, so that it fails for nobody else."""
        try:
            found = self.model.answer([each for ticket in tickets for each in ticket.asked])
        except Exception as error:
            if len(tickets) == 1:
                tickets[0].fail(error)
                return
            for ticket in tickets:
                self._answer([ticket])
            return
        place = 0
        for ticket in tickets:
            ticket.tell(found[place : place + len(ticket.asked)], last=True)
            place += len(ticket.asked)
