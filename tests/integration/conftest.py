"""Whole trainings on a tiny random base, in this process and in others."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.registry.database import open_database

ROOT = Path(__file__).parents[2]
WALL_CLOCK = ("rows_per_second", "tokens_per_second")


@pytest.fixture(scope="session")
def overrides_of(quick: tuple[str, ...], sentence_base: Path) -> Callable[[str], list[str]]:
    """Overrides with which each method learns the toy rows."""

    def overrides(method: str) -> list[str]:
        if method == "head":
            return [f"model.base={sentence_base}", "method=head", "training.threads=1", "evaluation.resamples=200"]
        if method == "lora":
            return [*quick, "method=lora", "training.learning_rate=1e-2", "training.epochs=8"]
        if method == "ia3":
            return [*quick, "method=ia3", "training.learning_rate=1e-1", "training.epochs=16"]
        if method == "adapter":
            return [*quick, "method=adapter", "training.learning_rate=3e-2", "training.epochs=16"]
        if method == "prompt-tuning":
            return [*quick, "method=prompt-tuning", "training.learning_rate=5e-2", "training.epochs=16"]
        if method == "freeze":
            return [*quick, "method=freeze", "training.learning_rate=1e-2", "training.epochs=16"]
        return list(quick)

    return overrides


@pytest.fixture(scope="session")
def metrics_of() -> Callable[[Path], list[dict[str, Any]]]:
    """The logged steps of a run without what depends on the clock."""

    def metrics(run: Path) -> list[dict[str, Any]]:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in WALL_CLOCK} for line in lines]

    return metrics


@pytest.fixture(scope="session")
def weights_of() -> Callable[[Path], dict[str, bytes]]:
    """The bytes of every weight file of a run's final model."""

    def weights(run: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((run / "final").glob("*.safetensors"))}

    return weights


def _hear_interrupts() -> None:
    """A shell starts background jobs with SIGINT ignored; children of such a test run would ignore it too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `burnish ARGUMENTS` as a process of its own; what still runs at the end is killed."""
    started = []

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "burnish", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            preexec_fn=_hear_interrupts,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URL of a server of its own, which ends with the test."""
    pytest.importorskip("pg8000")
    if shutil.which("postgres") is None or shutil.which("initdb") is None:
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        yield from _served(Path(folder))


def _served(folder: Path) -> Iterator[str]:
    owner = "nobody" if getpass.getuser() == "root" else None  # the server refuses to run as root
    if owner is not None:
        shutil.chown(folder, owner)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    make = ["initdb", "-D", str(folder / "data"), "-U", "burnish", "--auth=trust", "--no-sync", "--encoding=UTF8"]
    subprocess.run(make, check=True, capture_output=True, user=owner, cwd=folder)
    run = [
        "postgres",
        "-D",
        str(folder / "data"),
        "-p",
        str(port),
        "-k",
        str(folder),
        "-c",
        "listen_addresses=127.0.0.1",
    ]
    with (folder / "log").open("w", encoding="utf-8") as said:
        server = subprocess.Popen(run, stdout=said, stderr=said, user=owner, cwd=folder)
        try:
            yield _answering(f"postgresql://burnish@127.0.0.1:{port}/postgres", server, folder / "log")
        finally:
            open_database.cache_clear()
            server.send_signal(signal.SIGINT)  # without waiting for clients
            server.wait(timeout=30)


def _answering(url: str, server: subprocess.Popen[bytes], log: Path) -> str:
    port = int(url.rpartition(":")[2].partition("/")[0])
    for _ in range(300):
        if server.poll() is not None:
            raise AssertionError(log.read_text(encoding="utf-8"))
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0 and "ready to accept" in log.read_text(encoding="utf-8"):
                return url
        time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8"))
