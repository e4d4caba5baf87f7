"""A process of ours that runs beside this one, is started again when it dies, and ends when this one does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
STEADY_SECONDS = 30.0  # whoever lived so long is started again without a pause
STOP_SECONDS = 25.0  # for a worker to write its checkpoint


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

    def stop(self) -> None:
        """Asks it to end, waits, and kills it when it does not."""
        self._ending.set()
        with self._lock:
            process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
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
