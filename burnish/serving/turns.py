"""One thread that computes, and models that take turns in it.

All products of all models run in one thread, one pass after the other, so that they share the cores instead of
fighting for them, and the thread that talks to clients never waits for numbers. A model that has work is in line; it
does one pass at its turn and lines up again, so a long job of one does not keep another waiting.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
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
        self._line: deque[Step] = deque()
        self._in_line: set[Step] = set()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="burnish-passes", daemon=True)

    def wake(self, step: Step) -> None:
        """Lines a model up, if it is not in line."""
        with self._changed:
            if step not in self._in_line:
                self._in_line.add(step)
                self._line.append(step)
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
            try:
                more = step()
            except Exception:  # who waited for it has been told; the others go on
                LOGGER.exception("a pass failed")
                more = True
            if more:
                self.wake(step)

    def _next(self) -> Step | None:
        with self._changed:
            while self._open and not self._line:
                self._changed.wait()
            if not self._open:
                return None
            step = self._line.popleft()
            self._in_line.discard(step)
            return step
