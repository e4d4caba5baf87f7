"""How long a training may take and what it may cost; over all its parts, when it was stopped and went on."""

from __future__ import annotations

import time

from burnish.engine.options import TrainingOptions

PACE_AFTER = 10  # steps after which the pace is known well enough to be told
WORTH_TELLING = 60.0  # seconds left; shorter waits need no forecast


class Budget:
    """The clock of a training against what its options allow.

    Args:
        options: max_seconds, and max_cost with price_per_hour.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        self.limit = seconds_allowed(options)
        self.earlier = 0.0  # seconds of the parts before this one
        self.started = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self.earlier + time.monotonic() - self.started

    @property
    def is_spent(self) -> bool:
        return self.limit is not None and self.spent >= self.limit

    def reason(self) -> str:
        """Why the training ends, once it is spent."""
        cost = cost_of(self.spent, self.options)
        paid = "" if cost is None else f", {cost:.2f} at {self.options.price_per_hour:g} an hour"
        return f"budget: {self.spent:,.0f} seconds are spent{paid}"

    def pace(self, steps: int, left: int) -> str | None:
        """What is left at the pace of the first `steps` of this part, told once; None when it is not worth telling."""
        if steps != PACE_AFTER:
            return None
        seconds = (time.monotonic() - self.started) / steps * left
        if seconds < WORTH_TELLING:
            return None
        cost = cost_of(seconds, self.options)
        return f"at the pace of the first {steps} steps training takes {seconds / 60:,.0f} more minutes" + (
            "" if cost is None else f" and {cost:.2f}"
        )


def seconds_allowed(options: TrainingOptions) -> float | None:
    """The smaller of the two limits in seconds; None when there is none."""
    limits = [options.max_seconds] if options.max_seconds is not None else []
    if options.max_cost is not None and options.price_per_hour is not None:
        limits.append(options.max_cost / options.price_per_hour * 3_600)
    return min(limits, default=None)


def cost_of(seconds: float, options: TrainingOptions) -> float | None:
    """What so many seconds cost; None without a price."""
    return None if options.price_per_hour is None else options.price_per_hour * seconds / 3_600
