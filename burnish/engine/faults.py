"""What may go wrong in a step, what is remembered of it, and what is told."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from burnish.engine.journal import Journal
from burnish.engine.memory import release_memory
from burnish.engine.passes import Passes, can_be_cut
from burnish.engine.recompute import Recompute
from burnish.errors import DivergedError, OutOfMemoryError

IN_A_ROW = 3  # skipped steps after which the weights, and not the rows, are to blame


@dataclass(slots=True)
class Faults:
    """Counts of a run; its fields go into every checkpoint.

    Attributes:
        skipped_steps: steps not taken because loss or gradient was not finite.
        in_a_row: of them, those since the last step that was taken.
        rolled_back: the run went back to a checkpoint once; the next time it stops.
        micro_batch_tokens: tokens computed at once, halved each time memory ended.
        memory_retries: how often that was.
    """

    micro_batch_tokens: int
    skipped_steps: int = 0
    in_a_row: int = 0
    rolled_back: bool = False
    memory_retries: int = 0

    @property
    def rate_scale(self) -> float:
        """Factor on every learning rate, 0..1."""
        return 0.5 if self.rolled_back else 1.0

    def rolled_back_once(self) -> Faults:
        """What is remembered after going back to a checkpoint that knew less."""
        return Faults(
            micro_batch_tokens=self.micro_batch_tokens,
            skipped_steps=self.skipped_steps,
            rolled_back=True,
            memory_retries=self.memory_retries,
        )

    def state(self) -> dict[str, Any]:
        return asdict(self)


def halve_micro_batch(
    faults: Faults,
    passes: Passes,
    row_ids: Sequence[int],
    journal: Journal,
    *,
    step: int,
    rows_per_step: int,
    recompute: Recompute,
    at_first: int,
) -> None:
    """Lets half as many tokens be computed at once, because the rows of this step did not fit into memory.

    Where not even single rows fit, layers are computed again for their gradient, `at_first` many tokens at once.

    Raises:
        OutOfMemoryError: [engine/out-of-memory] when they were single rows, or must be computed together.
    """
    gc.collect()
    release_memory()
    pieces = passes.pieces(row_ids, faults.micro_batch_tokens)
    before = max(passes.tokens_at_once(piece) for piece in pieces)
    alone = all(len(piece) == 1 for piece in pieces) or not can_be_cut(passes.task)
    if alone and recompute.begin():
        faults.micro_batch_tokens = at_first
        faults.memory_retries += 1
        journal.event("layers-recomputed", step=step, tokens_before=before, tokens=at_first)
        journal.warn(
            f"step {step} did not fit into memory with {before} tokens at once; from now on layers are computed again "
            f"for their gradient, which takes longer and keeps less. The numbers stay the same"
        )
        return
    if alone:
        hint = "use method: lora or head, or a smaller base"
        if not can_be_cut(passes.task):
            hint = f"{passes.task.name} compares the rows of a step: lower training.global_batch_size, or {hint}"
        raise OutOfMemoryError(
            "engine/out-of-memory",
            f"step {step} does not fit into memory, {before} tokens at once",
            where=str(journal.folder.path),
            hint=hint,
        )
    after = faults.micro_batch_tokens = before // 2
    faults.memory_retries += 1
    journal.event("micro-batch-halved", step=step, tokens_before=before, tokens=after)
    journal.warn(
        f"step {step} did not fit into memory with {before} tokens at once; it is repeated with {after}."
        f" The batch of {rows_per_step} rows per step stays the same"
    )


def count_skipped(faults: Faults, what: str, row_ids: Sequence[int], journal: Journal, *, step: int) -> None:
    """Remembers and tells that a step was left out, and for what numbers."""
    faults.skipped_steps += 1
    faults.in_a_row += 1
    journal.event("step-skipped", step=step, rows=row_ids, reason=what)
    journal.warn(f"step {step} was skipped: {what} ({_named(row_ids)})")


def diverged(why: str, row_ids: Sequence[int], journal: Journal, *, step: int, lower_rate: float) -> NoReturn:
    """Ends a training that going back did not help.

    Raises:
        DivergedError: [engine/diverged].
    """
    journal.event("diverged", step=step, rows=row_ids)
    raise DivergedError(
        "engine/diverged",
        f"step {step}: {why}, also with half the learning rate",
        where=f"{journal.folder.path}{f' ({_named(row_ids)})' if row_ids else ''}",
        hint=f"look at these rows, or lower the learning rate: --set training.learning_rate={lower_rate:g}",
    )


def _named(row_ids: Sequence[int]) -> str:
    """Numbers of training rows, for people: the first eight of them."""
    return f"training rows {', '.join(map(str, row_ids[:8]))}{'…' if len(row_ids) > 8 else ''}"
