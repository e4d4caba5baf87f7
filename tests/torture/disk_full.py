"""What happens when the disk is full, or fails, at any of the moments something is written?

    python tests/torture/disk_full.py --stops 50 --io-errors 20

Disk full: runs lie on a small tmpfs of their own. A hook in the training process fills it with ballast just before
the n-th opening, renaming or making of a file, up to a few free pages drawn at random, so that this write or one of
the next fails for real; the ballast then goes and the run is resumed. Where mounting is not allowed, the n-th and
every later such call raises ENOSPC instead. Failing disk: the n-th fsync raises EIO.
Exit code 0 when each stop ended with its exit code and a message that names the path, without a traceback, lost no
checkpoint, and went on to the same bits.
"""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toy_runs import (
    METHODS,
    Fault,
    Outcome,
    Toys,
    differences,
    leftovers,
    lost_checkpoints,
    parser_of,
    report,
    steps,
    toys,
)

DISK_BYTES = 80_000_000  # burnish wants 50 MB free before it begins
MOST_FREE_PAGES = 12  # left by the ballast; a checkpoint of a toy takes more
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT
NEVER = 10**9
FAULTS = ("other exit codes", "unclear messages", "lost checkpoints", "manual repairs", "leftovers", "different ends")


@dataclass(frozen=True)
class Disk:
    """Where runs lie; `ballast` is None where a disk of our own could not be mounted."""

    folder: Path
    ballast: Path | None

    def relieve(self) -> None:
        if self.ballast is not None:
            self.ballast.unlink(missing_ok=True)


@contextmanager
def small_disk() -> Iterator[Disk]:
    with tempfile.TemporaryDirectory(prefix="torture-disk-") as name:
        folder = Path(name)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", name]
        mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True).returncode == 0
        try:
            yield Disk(folder, folder / "ballast" if mounted else None)
        finally:
            if mounted:
                subprocess.run(["umount", name], check=True)


@dataclass
class FullDisk:
    """Counts the writes below a disk and makes it full at the n-th; in the training process."""

    disk: Disk
    counter: Path
    position: int = NEVER
    free_pages: int = 0
    seen: int = 0
    filled: bool = False

    def __call__(self) -> None:
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._writes(event, arguments):
            return
        self.seen += 1
        if self.position == NEVER:
            self.counter.write_text(str(self.seen))
        elif self.seen >= self.position and self.disk.ballast is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))
        elif self.seen >= self.position and not self.filled:
            self.filled = True
            self._fill(self.disk.ballast)

    def _writes(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event not in ("open", "os.mkdir", "os.rename") or not str(arguments[0]).startswith(f"{self.disk.folder}/"):
            return False
        writing = event != "open" or bool(arguments[2] & WRITING_FLAGS)
        return writing and arguments[0] != str(self.disk.ballast)

    def _fill(self, ballast: Path | None) -> None:
        assert ballast is not None
        free = os.statvfs(self.disk.folder)
        descriptor = os.open(str(ballast), os.O_WRONLY | os.O_CREAT)
        if (pages := free.f_bavail - self.free_pages) > 0:
            os.posix_fallocate(descriptor, 0, pages * free.f_frsize)
        os.close(descriptor)


@dataclass
class FailingDisk:
    """The n-th fsync fails as on a broken disk; in the training process."""

    counter: Path
    position: int = NEVER
    seen: int = 0

    def __call__(self) -> None:
        fsync = os.fsync

        def failing(descriptor: int) -> None:
            self.seen += 1
            if self.position == NEVER:
                self.counter.write_text(str(self.seen))
            if self.seen == self.position:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(descriptor)

        os.fsync = failing  # type: ignore[assignment]


@dataclass
class Stops:
    """Trainings that a fault of the disk ends, each with `exit_code` and `message`, and that go on without it."""

    toys: Toys
    disk: Disk
    exit_code: int
    message: str
    outcome: Outcome = field(default_factory=lambda: Outcome(*FAULTS))

    def positions(self, method: str, fault: Fault, counter: Path) -> int:
        """How many moments of an undisturbed training there are for a fault, which counts them."""
        run = self.disk.folder / "counted"
        self.toys.start(method, run, fault).wait()
        shutil.rmtree(run)
        return int(counter.read_text())

    def stop_and_go_on(self, method: str, fault: Fault, what: str) -> None:
        outcome, whole, run = self.outcome, self.toys.whole(method), self.disk.folder / self.toys.new_run().name
        stopped = self.toys.start(method, run, fault)
        exit_code = stopped.wait()
        if exit_code != 0:  # otherwise the room that was left was enough for the rest
            outcome.count("stops")
            self._judge(exit_code, stopped.printed(), what)
            outcome.fault("lost checkpoints", *(f"{what}: {lost}" for lost in lost_checkpoints(run, steps(run))))
            self.disk.relieve()
            again = self.toys.start(method, run)
            if again.wait() != 0:
                outcome.fault("manual repairs", f"{what}: {again.printed()[-300:]}")
            outcome.fault("leftovers", *(f"{what}: {name}" for name in leftovers(run)))
            outcome.fault("different ends", *(f"{what}: {name}" for name in differences(run, whole)))
        self.disk.relieve()
        shutil.rmtree(run, ignore_errors=True)

    def _judge(self, exit_code: int, printed: str, what: str) -> None:
        """The last two lines are the error with its place and code, and what to do."""
        error = "".join(printed.strip().splitlines()[-2:-1])
        if exit_code != self.exit_code:
            self.outcome.fault("other exit codes", f"{what}: {exit_code}")
        if "Traceback" in printed or str(self.disk.folder) not in error or not re.search(self.message, error):
            self.outcome.fault("unclear messages", f"{what}: {printed[-400:]}")


def torture_full(toys: Toys, *, stops: int, seed: int) -> Outcome:
    """Stops by a full disk, and as many continuations."""
    chance, counter = random.Random(seed), toys.folder / "writes"
    with small_disk() as disk:
        series = Stops(toys, disk, 5, r"\[storage/disk-(full|too-small)\]$")
        figures = series.outcome.figures
        figures |= {"disk": "tmpfs" if disk.ballast else "ENOSPC raised in the process", "stops": 0}
        writes = {method: series.positions(method, FullDisk(disk, counter), counter) for method in METHODS}
        while figures["stops"] < stops:
            method = METHODS[figures["stops"] % len(METHODS)]
            position, pages = chance.randint(1, writes[method]), chance.randint(0, MOST_FREE_PAGES)
            what = f"write {position} of {writes[method]} ({method}, {pages} pages left)"
            series.stop_and_go_on(method, FullDisk(disk, counter, position, pages), what)
    return series.outcome


def torture_failing(toys: Toys, *, stops: int, seed: int) -> Outcome:
    """Stops by an fsync that failed, and as many continuations."""
    chance, counter = random.Random(seed), toys.folder / "fsyncs"
    series = Stops(toys, Disk(toys.folder, None), 6, r"\[storage/io-error\]$")
    series.outcome.figures["stops"] = 0
    syncs = {method: series.positions(method, FailingDisk(counter), counter) for method in METHODS}
    for number in range(stops):
        method = METHODS[number % len(METHODS)]
        position = chance.randint(1, syncs[method])
        what = f"fsync {position} of {syncs[method]} ({method})"
        series.stop_and_go_on(method, FailingDisk(counter, position), what)
    return series.outcome


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--io-errors", type=int, default=20)
    options = parser.parse_args()
    code = 0
    with toys(options.work) as lab:
        for name, torture, stops in (
            ("disk_full", torture_full, options.stops),
            ("io_error", torture_failing, options.io_errors),
        ):
            started = time.monotonic()
            outcome = torture(lab, stops=stops, seed=options.seed)
            code |= report(name, outcome, seed=options.seed, n=stops, started=started)
    return code


if __name__ == "__main__":
    sys.exit(main())
