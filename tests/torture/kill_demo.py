"""Kills the demo with SIGKILL at random moments, resumes it, and compares with a demo that nobody disturbed.

    python tests/torture/kill_demo.py REFERENCE_RUN WORK_FOLDER [--kills 5] [--seed 1] [-- more arguments of the demo]

At least every second kill waits for a checkpoint being written. Exit code 0 when the final weights are the same bits
and metrics.jsonl is the same but for the wall clock.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

WALL_CLOCK = ("rows_per_second", "tokens_per_second")


def start(run: Path, first: bool, more: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "burnish", *(["demo", "--output"] if first else ["resume"]), str(run)]
    return subprocess.Popen([*command, *(more if first else [])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_at(process: subprocess.Popen[bytes], run: Path, *, delay: float, in_save: bool) -> str:
    """Kills after `delay` seconds of training, or at the next write of a checkpoint after it."""
    old, size = temporaries(run), lines_of(run)
    while lines_of(run) <= size and process.poll() is None:  # leftovers go and steps begin
        time.sleep(0.05)
    time.sleep(delay)
    while in_save and process.poll() is None and not temporaries(run) - old:
        time.sleep(0.002)
    writing = sorted(temporaries(run) - old)
    process.kill()
    process.wait()
    return f"killed after {lines_of(run)} lines of metrics{', while writing ' + writing[0] if writing else ''}"


def temporaries(run: Path) -> set[str]:
    return {path.name for path in (run / "checkpoints").glob(".tmp-*")}


def lines_of(run: Path) -> int:
    path = run / "metrics.jsonl"
    return len(path.read_text("utf-8").splitlines()) if path.exists() else 0


def metrics(run: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key not in WALL_CLOCK} for row in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("more", nargs="*")
    options = parser.parse_args()
    choice = random.Random(options.seed)
    run = options.work / "killed"
    for kill in range(options.kills):
        process = start(run, first=kill == 0, more=options.more)
        print(kill_at(process, run, delay=choice.uniform(1, 25), in_save=kill % 2 == 1), flush=True)
    if start(run, first=False, more=[]).wait() != 0:
        print("the last resume failed")
        return 1
    names = ("model.safetensors", "head.safetensors")
    same = all((run / "final" / n).read_bytes() == (options.reference / "final" / n).read_bytes() for n in names)
    same_metrics = metrics(run) == metrics(options.reference)
    leftovers = list(run.rglob(".tmp-*"))
    print(f"weights identical: {same}; metrics identical: {same_metrics}; leftovers: {len(leftovers)}")
    return 0 if same and same_metrics and not leftovers else 1


if __name__ == "__main__":
    sys.exit(main())
