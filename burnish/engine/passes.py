"""Forward and backward over the rows of a step, a micro-batch at a time: sums of losses and of gradients, undivided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from burnish.engine.distributed import Ranks
from burnish.engine.dropout import drops_out, row_draws
from burnish.engine.gradient_cache import compare_in_pieces
from burnish.engine.layout import LayoutChoice, RowBatch
from burnish.engine.precision import Precision
from burnish.engine.probe import FIRST, probe_rows
from burnish.engine.rows import lengths_of
from burnish.engine.sampler import Numbers, micro_batches
from burnish.engine.tree import common_beginning
from burnish.types import Comparing, Encoded, LossTerm, Task

if TYPE_CHECKING:
    from burnish.engine.frozen_states import FrozenStates


@dataclass(slots=True)
class Sums:
    """What the rows of a step add up to.

    Attributes:
        total: losses of the training rows, nats.
        weight: their units, such as tokens.
        replayed: losses of the kept rows, counted apart.
        extras: what the task logs beside the loss, of this rank's rows.
    """

    total: float = 0.0
    weight: float = 0.0
    replayed: float = 0.0
    extras: dict[str, float] = field(default_factory=dict)
    _waiting: list[tuple[str, Tensor]] = field(default_factory=list)

    def add(self, term: LossTerm) -> None:
        """Takes one micro-batch of training rows."""
        for name, value in term.extras.items():
            self.extras[name] = self.extras.get(name, 0.0) + value
        self._waiting.append(("total", term.total.detach()))
        self.weight += term.weight

    def add_replayed(self, term: LossTerm) -> None:
        """Takes one micro-batch of kept rows."""
        self._waiting.append(("replayed", term.total.detach()))

    def settle(self) -> None:
        """Reads the losses of all micro-batches at once: a device that is asked after each would stand still."""
        for name, value in self._waiting:
            setattr(self, name, getattr(self, name) + float(value))
        self._waiting.clear()


@dataclass(slots=True)
class Passes:
    """Computes any rows of a training with its model.

    Attributes:
        rows: training rows; their number keys their dropout.
        kept_rows: of what must not be forgotten, numbered behind the training rows.
        seed: of dropout.
        lengths: of all of them, (N,) tokens.
        shared: tokens that all of them begin with and that a micro-batch computes once; see `count_shared`.
        states: of the frozen layers, where they are kept.
    """

    task: Task
    model: nn.Module
    rows: Sequence[Encoded]
    kept_rows: Sequence[Encoded]
    layout: LayoutChoice
    precision: Precision
    device: torch.device
    seed: int
    lengths: Numbers = field(init=False)
    shared: int = field(init=False, default=0)
    states: FrozenStates | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.lengths = np.concatenate([lengths_of(self.rows), lengths_of(self.kept_rows)])

    def count_shared(self) -> None:
        """Lets micro-batches hold as many more rows as their common beginning leaves room for.

        Only where training leaves nothing to chance: the dropout of the training is to be in its place.
        """
        if self.layout.across and not drops_out(self.model, training=True):
            self.shared = min(common_beginning(rows) for rows in (self.rows, self.kept_rows) if len(rows))

    def add_up(
        self, row_ids: Sequence[int], into: Sums, *, step: int, max_tokens: int, factor: float, ranks: Ranks
    ) -> None:
        """Adds this rank's part of the rows to the sums, and their gradients to those that are there.

        Where rows are compared there is one sum for the rows of all ranks, which the first rank counts.

        Args:
            step: keys dropout with the seed and the row.
            max_tokens: computed at once.
            factor: what the loss of kept rows is multiplied by.
        """
        mine = ranks.share(row_ids)
        new = [i for i in mine if i < len(self.rows)]
        if isinstance(self.task, Comparing):
            place: dict[str, Any] = {"precision": self.precision, "device": self.device, "ranks": ranks}
            laid_out = [self.lay_out(piece, step) for piece in self.pieces(new, max_tokens)]
            term = compare_in_pieces(self.task, self.model, laid_out, rows=len(row_ids), **place)
            if ranks.leads:
                into.add(term)
            into.settle()
            return
        for piece in self.pieces(new, max_tokens):
            into.add(self.forward_backward(piece, step))
        for piece in self.pieces([i for i in mine if i >= len(self.rows)], max_tokens):
            into.add_replayed(self.forward_backward(piece, step, factor))
        into.settle()

    def forward_backward(self, piece: Sequence[int], step: int, factor: float = 1.0) -> LossTerm:
        """The loss of a micro-batch; its gradient, times the factor, is added to what is there."""
        batch = self.lay_out(piece, step)
        with self.precision.compute(self.device):
            term = self.task.loss(self.model, batch)
        (term.total * factor).backward()  # type: ignore[no-untyped-call]
        return term

    def probed_loss(self, max_tokens: int, *, backward: bool = False, whole: bool = False) -> float:
        """Loss per unit of up to four training rows of different length, nothing left to chance; draws no numbers.

        Args:
            backward: leaves the gradients, too.
            whole: of as many of the first rows as may be computed at once: what rounding does to a loss is a mean.
        """
        config = getattr(getattr(self.model, "encoder", None), "config", None)
        probe = list(self.rows[:FIRST]) if whole else probe_rows(self.rows, 4, config)
        while len(probe) > 1 and sum(row.length for row in probe) > max_tokens:
            probe.pop()
        training = self.model.training
        self.model.eval()
        try:
            with torch.set_grad_enabled(backward), self.precision.compute(self.device):
                batch = self.layout.lay_out(probe, range(len(probe)), device=self.device)
                term = self.task.loss(self.model, batch)
            if backward:
                term.total.backward()  # type: ignore[no-untyped-call]
        finally:
            self.model.train(training)
        return float(term.total.detach()) / term.weight

    def pieces(self, row_ids: Sequence[int], max_tokens: int) -> list[Sequence[int]]:
        """Micro-batches of some rows; all at once for a task that can only compare whole batches."""
        if not can_be_cut(self.task):
            return [row_ids] if row_ids else []
        return [*micro_batches(row_ids, self.lengths, max_tokens=max_tokens, shared=self.shared)]

    def lay_out(self, piece: Sequence[int], step: int) -> RowBatch:
        """A micro-batch as the model takes it, with the draws of its dropout."""
        draws = row_draws(piece, seed=self.seed, step=step)
        kept = {} if self.states is None else {"below": self.states.of(piece)}
        return self.layout.lay_out([self._row(i) for i in piece], piece, device=self.device, draws=draws, **kept)

    def units_of(self, row_ids: Sequence[int]) -> float:
        """Units of the loss of some rows."""
        return sum(self._row(i).weight for i in row_ids)

    def tokens_of(self, row_ids: Sequence[int]) -> int:
        return int(self.lengths[[*row_ids]].sum())

    def tokens_at_once(self, piece: Sequence[int]) -> int:
        """Tokens of a micro-batch as its size is counted."""
        return self.tokens_of(piece) - self.shared * (len(piece) - 1)

    @torch.no_grad()
    def try_out(self) -> None:
        """Computes the first row as it is judged, and throws it away."""
        self.model.eval()
        batch = self.layout.lay_out([self._row(0)], [0], device=self.device)
        with self.precision.compute(self.device):
            self.task.loss(self.model, batch)

    def _row(self, index: int) -> Encoded:
        """A training row, or behind them a kept row."""
        new = len(self.rows)
        return self.rows[index] if index < new else self.kept_rows[index - new]


def can_be_cut(task: Task) -> bool:
    """Whether a step may be computed in pieces: rows do not see each other, or are compared by their vectors alone."""
    return task.decomposable or isinstance(task, Comparing)
