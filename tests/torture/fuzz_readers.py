"""Does any file make `burnish check` crash, hang, eat the memory or write beside it?

    python tests/torture/fuzz_readers.py --files 2000

Seeded hostile files (see hostile_files.py) and valid controls go through the command in processes that are replaced
when they die. Exit code 0 when there was no traceback, no crash, nothing over 20 seconds or 2 GB, every refusal names
its file (and its line, where it is about one), valid files are accepted, and nothing was written.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from hostile_files import Case, make_case

if TYPE_CHECKING:
    from toy_runs import Outcome

MAX_SECONDS = 20
MAX_BYTES = 2 * 1024**3
# What concerns a file as a whole, and so has no line.
WHOLE_FILE = {
    *("data/missing-file", "data/not-a-file", "data/unreadable-file", "data/empty-file", "data/unknown-format"),
    "data/no-classes",
    *("data/unclear-column", "data/unknown-column", "data/too-few-rows", "data/one-class", "data/needs-package"),
}
FAULTS = (
    *("tracebacks", "deaths", "hangs", "over 2 GB", "refusals without file and line", "controls refused"),
    *("hostile files accepted", "written beside the input", "control characters printed"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Checker:
    """A process that checks one file after the other; a new one takes the place of one that dies or hangs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def check(self, path: Path) -> dict[str, Any]:
        """{"code", "out", "err", "seconds", "bytes"}, or {"died": code} or {"hung": seconds}."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(str(path)) + "\n")
        process.stdin.flush()
        busy = _wait(process)
        answer = process.stdout.readline() if busy is None else ""
        if answer:
            return {**json.loads(answer)}
        self.close()
        return {"died": process.returncode} if busy is None else {"hung": busy}

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        self._process = None

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self._process


def _wait(process: subprocess.Popen[str]) -> float | None:
    """None when there is something to read; the CPU seconds spent when it takes too long, or waits for nothing.

    The processor's time counts: on a machine with other work the clock says little.
    """
    before = _cpu_seconds(process)
    waited, busy = time.monotonic(), 0.0
    while not select.select([process.stdout], [], [], 1)[0]:
        busy = _cpu_seconds(process) - before
        idle = time.monotonic() - waited > 30 * (1 + busy)
        if busy > 2 * MAX_SECONDS or idle:
            return busy
    return None


def _cpu_seconds(process: subprocess.Popen[str]) -> float:
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def serve() -> None:
    """Checks the files named on stdin; one line of JSON for each."""
    from burnish.cli.main import main
    from burnish.lifecycle.environment import peak_memory_bytes

    answers = sys.stdout
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        started = time.process_time()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["check", json.loads(line), "--json"])
        answer = {
            "code": code,
            "out": out.getvalue(),
            "err": err.getvalue(),
            "seconds": time.process_time() - started,
            "bytes": peak_memory_bytes(),
        }
        print(json.dumps(answer), file=answers, flush=True)


def torture(*, files: int, seed: int, work: Path | None = None) -> Outcome:
    """Checks that many files; the outcome counts what came of them."""
    from toy_runs import Outcome  # loads torch, which the checking processes do without where they can

    outcome = Outcome(*FAULTS)
    with checkers(work) as (checker, folder):
        for index in range(files):
            case = make_case(index, folder, seed)
            before = _listing(folder)
            answer = checker.check(case.path)
            _judge(case, answer, f"{index} ({case.kind})", outcome)
            if _listing(folder) != before:
                outcome.fault("written beside the input", f"{index} ({case.kind})")
            _empty(folder)
            if (index + 1) % 100 == 0:
                print(
                    f"{index + 1} files, {sum(map(len, outcome.faults.values()))} faults", file=sys.stderr, flush=True
                )
    return outcome


@contextlib.contextmanager
def checkers(work: Path | None) -> Iterator[tuple[Checker, Path]]:
    checker = Checker()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        try:
            yield checker, Path(folder)
        finally:
            checker.close()


def _judge(case: Case, answer: dict[str, Any], place: str, outcome: Outcome) -> None:
    outcome.count(case.kind.split(":")[0])
    if "died" in answer or "hung" in answer:
        outcome.fault("deaths" if "died" in answer else "hangs", f"{place}: {answer}")
        return
    outcome.figures["slowest, CPU seconds"] = max(outcome.figures.get("slowest, CPU seconds", 0), answer["seconds"])
    outcome.figures["peak MB"] = max(outcome.figures.get("peak MB", 0), answer["bytes"] // 1_000_000)
    if answer["seconds"] > MAX_SECONDS:
        outcome.fault("hangs", f"{place}: {answer['seconds']:.0f} s")
    if answer["bytes"] > MAX_BYTES:
        outcome.fault("over 2 GB", place)
    if answer["code"] not in (0, 1, 2) or "Traceback" in answer["err"]:
        outcome.fault("tracebacks", f"{place}: {answer['err'][-300:]}")
        return
    if _CONTROL.search(answer["err"]):
        outcome.fault("control characters printed", place)
    found = json.loads(answer["out"])
    outcome.count("refused" if "error" in found else "read, with problems" if found["problems"] else "read")
    if "error" in found and not _names_its_place(found["error"], case.path):
        outcome.fault("refusals without file and line", f"{place}: {answer['err'][:200]}")
    if case.expected == "read" and "error" in found:
        outcome.fault("controls refused", f"{place}: {answer['err'][:200]}")
    if case.expected == "refused" and "error" not in found:
        outcome.fault("hostile files accepted", place)


def _names_its_place(error: dict[str, Any], path: Path) -> bool:
    """Whether an error begins with the file and, unless it is about the whole of it, with a line."""
    where = error["where"] or ""
    if error["code"] == "data/too-few-rows":  # about what is left of all files
        return True
    if error["code"] in WHOLE_FILE and where == str(path):
        return True
    return re.fullmatch(re.escape(str(path)) + r":[1-9]\d*", where) is not None


def _listing(folder: Path) -> dict[str, str]:
    """What lies in the folder, with its bytes where they can be read without waiting."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path.lstat().st_mode)
        for path in folder.iterdir()
    }


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def main() -> int:
    from toy_runs import parser_of, report

    parser = parser_of(__doc__)
    parser.add_argument("--files", type=int, default=2000)
    options = parser.parse_args()
    started = time.monotonic()
    outcome = torture(files=options.files, seed=options.seed, work=options.work)
    return report("fuzz_readers", outcome, seed=options.seed, n=options.files, started=started)


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        serve()
    else:
        sys.exit(main())
