"""Dynamic batches for everything that does not write token by token: what waits for a model is answered in one pass.

Nothing is held back to make a batch: when nobody else waits, a request is answered alone at once; while a pass runs,
others line up, and the next pass takes them together. A request with more rows than a pass takes is answered in parts,
and goes to the end of the line after each: neither the others of its model nor other models wait for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from burnish.engine.precision import choose_device
from burnish.serving.waiting import Ticket, Waiting, stopping

PASS_TOKENS = 1_024  # of the rows that one pass takes, at least one row: more of them are no faster each
GPU_PASS_TOKENS = 16_384
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


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one request that are answered in one pass."""

    ticket: Ticket[list[Any]]
    rows: Sequence[Prepared]


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
        self._pass_tokens = PASS_TOKENS if choose_device().type == "cpu" else GPU_PASS_TOKENS
        self._begun: dict[Ticket[list[Any]], list[Any]] = {}  # the answers so far to those with more rows than a pass

    @property
    def size_bytes(self) -> int:
        return self.model.size_bytes

    def step(self) -> bool:
        """One pass; whether there is more to do."""
        self.waiting.drop_those_gone()
        self._begun = {ticket: said for ticket, said in self._begun.items() if not ticket.gone}
        parts = self._taken()
        if parts:
            self._answer(parts)
        return bool(self.waiting)

    def close(self) -> None:
        """Ends what is still asked for, with an error."""
        self.waiting.fail(stopping())

    def _taken(self) -> list[Part]:
        """The rows of this pass: whole requests in their order, and of one that does not fit as many as do."""
        parts: list[Part] = []
        rows = tokens = 0
        while rows < PASS_ROWS and (head := self.waiting.head()) is not None:
            left = head.asked[len(self._begun.get(head, ())) :]
            count = 0
            for each in left:
                if rows == PASS_ROWS or (rows and tokens + each.tokens > self._pass_tokens):
                    break
                rows, tokens, count = rows + 1, tokens + each.tokens, count + 1
            if count < len(left) and parts:
                break  # it begins the next pass
            parts.append(Part(self.waiting.pop(), left[:count]))
            if count < len(left):
                break
        return parts

    def _answer(self, parts: Sequence[Part]) -> None:
        """Answers requests together; where that fails, each by itself, so that it fails for nobody else."""
        try:
            found = self.model.answer([each for part in parts for each in part.rows])
        except Exception as error:
            if len(parts) == 1:
                parts[0].ticket.fail(error)
                return
            for part in parts:
                self._answer([part])
            return
        place = 0
        for part in parts:
            said = [*self._begun.pop(part.ticket, ()), *found[place : place + len(part.rows)]]
            place += len(part.rows)
            if len(said) == len(part.ticket.asked):
                part.ticket.tell(said, last=True)
            else:
                self._begun[part.ticket] = said
                self.waiting.again(part.ticket)
