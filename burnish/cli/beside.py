"""A process of ours that runs beside this one, is started again when it dies, and ends when this one does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
STEADY_SECONDS = 30.0  # whoever lived so long is started again without a pause
STOP_SECONDS = 75.0  # for a worker to have its trainer write a checkpoint


class Beside:
    """`burnish ARGUMENTS` in a process of its own."""

    def __init__(self, arguments: list[str]) -> None:
        self._command = [sys.executable, "-m", "burnish", *arguments]
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._care, name="burnish-beside", daemon=True)

    def start(self) -> None:
        """Starts it, and from then on whenever it has ended."""
        self._thread.start()

    def ask(self) -> None:
        """Asks it to end; it is not started again."""
        self._ending.set()
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()

    def stop(self, *, now: bool = False) -> None:
        """Waits until it has ended; kills it, with all it has started, when it does not end, or now."""
        self.ask()
        with self._lock:
            process = self._process
        if process is not None:
            try:
                process.wait(0.1 if now else STOP_SECONDS)
            except BaseException as error:  # too late, or a second signal while it is waited for
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
        if self._thread.is_alive():
            self._thread.join()

    def _care(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._ending.is_set():
            began = time.monotonic()
            with self._lock:
                if self._ending.is_set():
                    return
                # its stdin is a pipe that ends when this process does, however that happens
                self._process = subprocess.Popen(  # noqa: S603  # ourselves
                    self._command, stdin=subprocess.PIPE, start_new_session=True
                )
            status = self._process.wait()
            if self._ending.is_set():
                return
            print(f"the worker ended with {status}; starting another one", file=sys.stderr, flush=True)
            if time.monotonic() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._ending.wait(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
