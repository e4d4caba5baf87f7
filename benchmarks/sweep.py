"""What a search brings and what giving up early saves: 3,000 rows of clinc150, killed in the middle and resumed.

python benchmarks/sweep.py [--trials 20] [--rows 3000]

The sweep runs in a process of its own that is killed once, halfway through its trials, and started again with the same
command. Writes benchmarks/results/sweep.json. About half an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from measuring import RESULTS, ROOT

from burnish.lifecycle.environment import describe_environment

BURNISH = [sys.executable, "-m", "burnish"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--work", type=Path, default=Path("sweep-work"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = cut(ROOT.parent / "shared" / "data" / "clinc150" / "train.csv", options.work / "clinc150.csv", options.rows)
    command = [
        *(*BURNISH, "sweep", str(rows), "--trials", str(options.trials), "--output", str(options.work / "sweep")),
        *("--set", "method=full", "--set", f"training.epochs={options.epochs}", "--json"),
    ]
    started = time.monotonic()
    killed_after = kill_halfway(command, options.work / "sweep" / "trials", options.trials // 2)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    best, first, saved = found["best"], found["first"], found["saved"]
    print(f"trials          {len(found['trials'])}, of them given up early {saved['trials']}")
    print(f"killed after    {killed_after} trials, gone on to the end")
    print(f"validation      {first['value']:.4f} as the recipe is, {best['value']:.4f} with {best['values']}")
    print(f"saved           {saved['seconds']:.0f} s of {saved['of_seconds']:.0f} s by giving up early")
    print(f"verdict         {found['verdict']['answer']}, {found['verdict']['difference']:+.4f} on the sealed test")
    result = {
        "environment": describe_environment(),
        "rows": options.rows,
        "seconds": round(time.monotonic() - started, 1),
        "killed_after_trials": killed_after,
        **{key: found[key] for key in ("trials", "best", "first", "importance", "saved", "verdict")},
    }
    (RESULTS / "sweep.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def cut(source: Path, target: Path, count: int) -> Path:
    """A seeded cut of a CSV file."""
    if not target.exists():
        with source.open(encoding="utf-8", newline="") as stream:
            head, *lines = list(csv.reader(stream))
        with target.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([head, *random.Random(13).sample(lines, count)])
    return target


def kill_halfway(command: list[str], trials: Path, count: int) -> int:
    """Starts the sweep and kills it when so many trials are done; gives how many were. Nothing where they are."""
    if len(list(trials.glob("*/trial.json"))) >= count:
        return len(list(trials.glob("*/trial.json")))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(trials.glob("*/trial.json"))) < count:
        time.sleep(1)
    time.sleep(5)  # into the next trial
    process.kill()
    process.wait()
    return len(list(trials.glob("*/trial.json")))


if __name__ == "__main__":
    main()
