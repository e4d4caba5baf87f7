"""When to stop: no better evaluation for a while, overfitting, numbers that are not finite, or a signal."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any


@dataclass(slots=True)
class EarlyStopping:
    """Counts evaluations without a better one; its fields go into every checkpoint.

    Attributes:
        patience: evaluations to wait for a better one.
        best_value: best validation metric so far; None before the first evaluation.
        best_step: where it was seen.
        waited: evaluations since then.
        last_train_loss, last_validation_loss: of the previous evaluation.
        rising: evaluations in a row where validation loss rose while training loss fell.
    """

    patience: int
    higher_is_better: bool = True
    best_value: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    waited: int = 0
    last_train_loss: float | None = None
    last_validation_loss: float | None = None
    rising: int = 0

    def see(self, step: int, value: float, *, train_loss: float | None, validation_loss: float) -> bool:
        """Takes one evaluation; True when it is the best so far. Equal metrics are told apart by validation loss."""
        if self.last_validation_loss is not None and self.last_train_loss is not None and train_loss is not None:
            overfitting = validation_loss > self.last_validation_loss and train_loss < self.last_train_loss
            self.rising = self.rising + 1 if overfitting else 0
        self.last_train_loss, self.last_validation_loss = train_loss, validation_loss
        sign = 1.0 if self.higher_is_better else -1.0
        better = self.best_value is None or sign * value > sign * self.best_value
        tied = value == self.best_value and self.best_loss is not None and validation_loss < self.best_loss
        if better or tied:
            self.best_value, self.best_loss, self.best_step, self.waited = value, validation_loss, step, 0
            return True
        self.waited += 1
        return False

    def reason(self) -> str | None:
        """Why training should stop now, or None."""
        if self.waited >= self.patience:
            return f"no better evaluation in {self.waited}"
        if self.rising >= self.patience and self.waited > 0:
            return f"validation loss rose {self.rising} times in a row while training loss fell"
        return None

    def state(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> EarlyStopping:
        return cls(**state)


class StopSignal:
    """Remembers the first SIGINT or SIGTERM until the current step is done; the second one stops at once.

    The second one does what the caller's own handler does, which knows the exit code.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.previous: dict[int, Any] = {}

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            return
        if callable(handler := self.previous.get(number)):
            handler(number, frame)
        raise KeyboardInterrupt


@contextmanager
def listening() -> Iterator[StopSignal]:
    """Catches SIGINT and SIGTERM inside the block; elsewhere than in the main thread it hears nothing."""
    stop = StopSignal()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            stop.previous[number] = signal.signal(number, stop._received)
    except ValueError:  # not the main thread: the caller's own handling stays
        pass
    try:
        yield stop
    finally:
        for caught, handler in stop.previous.items():
            signal.signal(caught, handler)
