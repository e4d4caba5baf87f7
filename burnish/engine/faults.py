"""What may go wrong in a step, and what is remembered of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

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

    def state(self) -> dict[str, Any]:
        return asdict(self)


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when a device or the machine has no memory left (the CPU's has no class)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
