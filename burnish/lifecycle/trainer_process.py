"""The supervisor's end of the trainer: started with a clean environment, spoken to, watched, replaced when it dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from burnish.errors import TrainerDiedError
from burnish.storage.durable import make_folder, remove_folder

KEPT = (  # of the environment; everything else may hold a secret
    *("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT"),
    *("LD_LIBRARY_PATH", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "BURNISH_THREADS"),
    *("COVERAGE_PROCESS_START",),
)
KEPT_BEGINNINGS = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_", "NCCL_", "TORCH_", "PYTORCH_", "DYLD_")
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "BURNISH_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
QUIET |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}


class TrainerProcess:
    """One trainer and whoever takes its place.

    Args:
        home: folder of its own, for caches of what it reads; removed with it.
        slot: "cpu" hides the accelerators.
    """

    def __init__(self, home: Path, *, slot: str) -> None:
        self.home, self.slot = home, slot
        self.child: subprocess.Popen[str] | None = None
        self.answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self.reader: threading.Thread | None = None
        self.busy = False  # with an order that it has not answered

    def start(self) -> None:
        """Starts a trainer, unless one is there; it loads its libraries while nobody waits for it."""
        if self.child is not None and self.child.poll() is None:
            return
        remove_folder(self.home)
        make_folder(self.home)
        self.answers, self.busy = SimpleQueue(), False
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-m", "burnish.lifecycle.trainer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=clean_environment(os.environ, self.home, slot=self.slot),
            start_new_session=True,  # what stops the worker from a terminal asks the trainer to finish its step first
        )
        self.reader = threading.Thread(target=_read, args=(self.child, self.answers), daemon=True)
        self.reader.start()

    def order(self, do: str, **details: Any) -> None:
        """Gives the trainer something to do.

        Raises:
            TrainerDiedError: [worker/trainer-died].
        """
        self.start()
        assert self.child is not None
        assert self.child.stdin is not None
        self.busy = True
        try:
            self.child.stdin.write(json.dumps({"do": do, **details}) + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def answer(self, timeout_seconds: float) -> dict[str, Any] | None:
        """What the trainer says next; None when it says nothing for so long.

        Raises:
            TrainerDiedError: [worker/trainer-died].
        """
        try:
            said = self.answers.get(timeout=timeout_seconds)
        except Empty:
            return None
        if said is None:
            raise self._died()
        if "outcome" in said:
            self.busy = False
        return said

    def kill(self) -> None:
        """Ends the trainer at once, whatever it does."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self._close()

    def close(self) -> None:
        """Ends the trainer for good."""
        self.kill()
        remove_folder(self.home)

    def _died(self) -> TrainerDiedError:
        assert self.child is not None
        code = self.child.wait()
        self._close()
        return TrainerDiedError("worker/trainer-died", f"the process that trained {how_it_ended(code)}")

    def _close(self) -> None:
        if self.child is not None:
            if self.reader is not None:
                self.reader.join()  # it comes to the end of what the child said
            for stream in (self.child.stdin, self.child.stdout):
                if stream is not None:
                    _close(stream)
            self.child = None


def how_it_ended(code: int) -> str:
    """The exit code of a process in words.

    >>> how_it_ended(-9)
    'was killed by SIGKILL; perhaps the memory of the machine ended'
    """
    if code >= 0:
        return f"ended by itself with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}" + ("; perhaps the memory of the machine ended" if name == "SIGKILL" else "")


def clean_environment(environment: Mapping[str, str], home: Path, *, slot: str) -> dict[str, str]:
    """What of an environment a trainer may know: no URL of a database, no key, nobody's credentials."""
    kept = {
        name: value for name, value in environment.items() if name in KEPT or name.upper().startswith(KEPT_BEGINNINGS)
    }
    own = {"BURNISH_HOME": str(home), "BURNISH_RUNS": str(home / "runs")}
    return kept | QUIET | own | ({"CUDA_VISIBLE_DEVICES": ""} if slot == "cpu" else {})


def _read(child: subprocess.Popen[str], answers: SimpleQueue[dict[str, Any] | None]) -> None:
    """Hands on every line of a trainer, and None when there will be no more."""
    assert child.stdout is not None
    try:
        for line in child.stdout:
            if line.endswith("\n"):  # else it died while it said something
                answers.put(json.loads(line))
    except ValueError:  # the stream was closed
        pass
    answers.put(None)


def _close(stream: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # what was not sent was for a trainer that is gone
        stream.close()
