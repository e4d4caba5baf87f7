"""One writer per run, and no lock outlives its owner."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from burnish.errors import DiskFullError, RunError
from burnish.storage.lock import LOCK, exclusive

HOLD = """
import sys, time
from pathlib import Path
from burnish.storage.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_with_the_first_ones_number(tmp_path: Path) -> None:
    with another_process_holding(tmp_path) as process:
        with pytest.raises(RunError) as caught, exclusive(tmp_path):
            pytest.fail("two processes hold the lock")
        assert caught.value.code == "run/locked"
        assert caught.value.exit_code == 2
        assert f"process {process.pid}" in caught.value.message
        assert caught.value.where == str(tmp_path)
        assert caught.value.hint == "wait for it, or stop it first"


def test_the_lock_is_free_after_its_owner_was_killed(tmp_path: Path) -> None:
    with another_process_holding(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with exclusive(tmp_path):
            pass


def test_the_lock_is_free_after_an_error_inside(tmp_path: Path) -> None:
    def fail() -> None:
        with exclusive(tmp_path):
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    with exclusive(tmp_path):
        pass


def test_a_refused_attempt_does_not_rob_the_owner(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        for _ in range(2):
            with pytest.raises(RunError), exclusive(tmp_path):
                pytest.fail("the lock is held twice")


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFullError) as caught, exclusive(tmp_path):
        pass
    assert (caught.value.code, caught.value.where) == ("storage/disk-full", str(tmp_path / LOCK))


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "{}"])
def test_an_owner_that_left_no_number_is_unknown(tmp_path: Path, content: str) -> None:
    with exclusive(tmp_path):
        (tmp_path / LOCK).write_text(content)
        with pytest.raises(RunError, match="process unknown"), exclusive(tmp_path):
            pytest.fail("the lock is held twice")
