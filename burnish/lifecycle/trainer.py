"""The process that trains: one job after the other, with the libraries loaded once; it knows no database and no keys.

Orders come as lines of JSON on stdin, answers go out as lines of JSON on what was stdout. It works on what the orders
name, in the run's own folder, and leaves everything there. When its supervisor is gone, it is gone too.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

from burnish.errors import (
    BurnishError,
    DamagedStoreError,
    DataProblemError,
    DataReadError,
    DiskFullError,
    DivergedError,
    InterruptedRunError,
    LostRankError,
    OutOfMemoryError,
    SelfTestError,
)
from burnish.types import Progress, Silent

LOADED = (  # in this order: the first one sets what the others read
    *("burnish.model", "peft", "transformers"),
    *("burnish.lifecycle.trainer_orders", "burnish.lifecycle.judge_chat"),
)
PARENT_DIED = 1  # PR_SET_PDEATHSIG of Linux
DATA, DIVERGED, MEMORY, REQUEST, MACHINE, BUG = "data", "diverged", "memory", "request", "machine", "bug"
KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    ((DataReadError, DataProblemError), DATA),
    ((DivergedError, SelfTestError), DIVERGED),
    ((OutOfMemoryError, MemoryError), MEMORY),
    ((DiskFullError, DamagedStoreError, LostRankError, OSError), MACHINE),
    (BurnishError, REQUEST),
)


class Told(Silent):
    """Hands warnings to the supervisor; figures are read from the run's folder."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    def warn(self, text: str) -> None:
        self.answers.say({"warning": text})


class Answers:
    """Lines of JSON to the supervisor, through an open pipe."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def say(self, value: Mapping[str, Any]) -> None:
        rest = (json.dumps(value, ensure_ascii=False, default=str) + "\n").encode()
        with contextlib.suppress(BrokenPipeError):  # nobody listens any more: the end of stdin ends this process
            while rest:
                rest = rest[os.write(self.pipe, rest) :]


def main() -> None:
    """Answers orders until there are no more."""
    answers = Answers(os.dup(1))  # what libraries print must not get between
    os.dup2(2, 1)
    _die_with_supervisor()
    for number in (signal.SIGINT, signal.SIGTERM):  # one who stops the worker asks its supervisor, which asks us
        signal.signal(number, signal.SIG_IGN)
    orders: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_read_orders, args=(orders,), daemon=True).start()
    _load_libraries()
    from burnish.engine.memory import release_memory

    answers.say({"ready": os.getpid()})
    while True:
        order = orders.get()
        answers.say(_obeyed(order, Told(answers)))
        gc.collect()
        release_memory()


def _obeyed(order: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The answer to an order; whatever goes wrong is one, too."""
    from burnish.lifecycle import trainer_orders

    try:
        return {"outcome": "done", **trainer_orders.ORDERS[order["do"]](order, progress)}
    except InterruptedRunError:
        return {"outcome": "interrupted"}
    except Exception as error:
        kind = next((kind for types, kind in KINDS if isinstance(error, types)), BUG)
        if kind == BUG:
            traceback.print_exc()
        code = error.code if isinstance(error, BurnishError) else type(error).__name__
        hint = error.hint if isinstance(error, BurnishError) else None
        message = error.message if isinstance(error, BurnishError) else str(error)
        details = list(error.details) if isinstance(error, BurnishError) else []
        said = {"code": code, "message": message, "hint": hint, "details": details}
        return {"outcome": "failed", "kind": kind, "error": said}


def _read_orders(orders: SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)  # the supervisor is gone: whatever is going on here, nobody waits for it


def _die_with_supervisor() -> None:
    """Linux ends this process with the one that started it, even while a library holds the interpreter."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGKILL)


def _load_libraries() -> None:
    """What every training needs, loaded before the first one waits for it."""
    for name in LOADED:
        importlib.import_module(name)


if __name__ == "__main__":
    main()
