"""One thread that computes, and models that take turns in it.

All products of all models run in one thread, one pass after the other, so that they share the cores instead of
fighting for them, and the thread that talks to clients never waits for numbers. The next pass is of the model that has
had the least time of those with work (fair queueing; Demers et al. 1989): the many short passes of one that writes
token by token do not wait for as many long ones of another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

LOGGER = logging.getLogger("burnish.serving")

Step = Callable[[], bool]  # one pass; whether there is more to do
Result = TypeVar("Result")


class Turns:
    """The line of those that have something to compute.

    Args:
        threads: that a product is spread over; None: as torch decides.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._line: dict[Step, None] = {}  # in the order they came
        self._had: dict[Step, float] = {}  # seconds that each has had
        self._least = 0.0  # seconds that the last one had had when it was chosen; who comes is not behind that
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="burnish-passes", daemon=True)

    def wake(self, step: Step) -> None:
        """Lines a model up, if it is not in line."""
        with self._changed:
            if step not in self._line:
                self._had[step] = max(self._had.get(step, 0.0), self._least)
                self._line[step] = None
                self._changed.notify()
            if self._open and self._thread.ident is None:
                self._thread.start()

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """Does something once between two passes."""
        future: Future[Result] = Future()

        def once() -> bool:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            return False

        self.wake(once)
        return future

    def stop(self) -> None:
        """Ends after the current pass."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        import torch

        if self._threads is not None:
            torch.set_num_threads(self._threads)
        while (step := self._next()) is not None:
            began = time.monotonic()
            try:
                more = step()
            except Exception:  # who waited for it has been told; the others go on
                LOGGER.exception("a pass failed")
                more = True
            self._had[step] += time.monotonic() - began
            if more:
                self.wake(step)

    def _next(self) -> Step | None:
        with self._changed:
            while self._open and not self._line:
                self._changed.wait()
            if not self._open:
                return None
            step = min(self._line, key=lambda each: self._had[each])
            del self._line[step]
            self._least = self._had[step]
            self._had = {  # who had no more than that begins there anyway
                each: had for each, had in self._had.items() if had > self._least or each in self._line or each == step
            }
            return step
