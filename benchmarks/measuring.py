"""What the scripts beside it share: rows, arms that take turns in processes of their own, ratios, results.

An arm is a function that measures one way of doing a job and gives its figures. Each run of an arm is a process of its
own, with the same number of threads, an empty home for caches and no network. Arms take turns, forwards and backwards,
so that what else the machine does falls on all of them, and are compared pair by pair.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.types import Silent

ROOT = Path(__file__).parents[1]
BANKING77 = ROOT.parent / "shared" / "data" / "banking77"
DEMO = ROOT / "burnish" / "data" / "demo"
RESULTS = ROOT / "benchmarks" / "results"
HELD_OUT = 64  # rows that validate and judge where a benchmark only trains
# libraries whose versions decide figures, beside burnish's own
PEERS = ("accelerate", "onnxruntime", "onnx", "trl", "datasets")

Figures = dict[str, Any]
Measured = dict[str, list[Figures]]  # arm -> figures of each round


@dataclass(frozen=True, slots=True)
class Place:
    """Where one run of an arm happens.

    Attributes:
        work: an empty folder that goes away afterwards.
        threads: CPU threads the arm may use.
        started: time.monotonic() right before the process was started.
    """

    work: Path
    threads: int
    started: float


class ArmError(SystemExit):
    """An arm that gave no figures; ends a script that does not expect it with its message."""


Arm = Callable[..., Figures]  # called with a Place and what the script gives to all of its arms


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text."""

    text: str
    label: str


def read_rows(part: str) -> tuple[str, list[Row]]:
    """Name of the data and its "train" or "test" rows, each text once: banking77 where it is, else the demo's."""
    if BANKING77.is_dir():
        name, rows = "banking77", rows_of(BANKING77 / f"{part}.csv", text="text", label="category")
    else:
        name, rows = "demo", rows_of(DEMO / f"{part}.csv", text="message", label="next_action")
    return name, list({row.text: row for row in rows}.values())


def rows_of(path: Path | str, *, text: str = "text", label: str = "label") -> list[Row]:
    """The rows of a CSV file."""
    with Path(path).open(encoding="utf-8", newline="") as stream:
        return [Row(line[text], line[label]) for line in csv.DictReader(stream)]


def sample_rows(rows: Sequence[Row], count: int, seed: int) -> tuple[list[Row], list[Row]]:
    """`count` random rows, and up to HELD_OUT others that have their labels."""
    mixed = random.Random(seed).sample(rows, len(rows))
    chosen = mixed[:count]
    known = {row.label for row in chosen}
    return chosen, [row for row in mixed[count : count + HELD_OUT] if row.label in known]


def write_rows(path: Path, rows: Sequence[Row]) -> str:
    """Rows as a CSV file with the columns text and label."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("text", "label"), *((row.text, row.label) for row in rows)])
    return str(path)


def write_parts(folder: Path, rows: Sequence[Row], count: int, seed: int) -> dict[str, str]:
    """Files of `count` random rows to train on, and of a few others to validate and to judge."""
    chosen, others = sample_rows(rows, count, seed)
    parts = {"train": chosen, "validation": others[::2], "test": others[1::2]}
    return {part: write_rows(folder / f"{part}.csv", found) for part, found in parts.items()}


class _EnoughError(Exception):
    """Ends a training of which enough was seen."""


class StepClock(Silent):
    """Notes when each optimizer step was finished, and ends the training after the last one that is wanted."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.times: list[float] = []  # time.monotonic()

    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        if "loss" in figures:  # prediction goes on without one
            self.times.append(time.monotonic())
            if len(self.times) == self.last:
                raise _EnoughError


def train_steps(files: Mapping[str, str], clock: StepClock, output: Path, *settings: str) -> None:
    """Trains with burnish until the clock has its steps: nothing is judged or saved.

    Args:
        files: "train" and, unless they are to be cut from it, "validation" and "test".
        settings: of the recipe, "section.field=value".
    """
    import burnish

    overrides = [f"training.max_steps={clock.last}", f"training.evaluate_every_steps={clock.last}"]
    overrides += ["checkpoint.every_steps=null", "method=full", *settings]
    overrides += [f"data.{part}={path}" for part, path in files.items() if part != "train"]
    with contextlib.suppress(_EnoughError):
        burnish.train(files["train"], output=output, overrides=overrides, progress=clock)
    if len(clock.times) < clock.last:
        raise RuntimeError(f"the training ended after {len(clock.times)} of {clock.last} steps")


def parser(about: str, *, pairs: int) -> argparse.ArgumentParser:
    """The arguments that all scripts have."""
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--pairs", type=int, default=pairs, help=f"rounds in which each arm runs once ({pairs})")
    found.add_argument("--threads", type=int, help="CPU threads of each arm (one per physical core)")
    found.add_argument("--seed", type=int, default=13)
    found.add_argument("--quick", action="store_true", help="one small round that shows it works; writes no result")
    found.add_argument("--arm", help=argparse.SUPPRESS)
    found.add_argument("--given", help=argparse.SUPPRESS)
    return found


def parsed(found: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments with what --quick and the machine decide."""
    from burnish.lifecycle.environment import default_threads

    options = found.parse_args()
    if options.arm is None:
        options.threads = options.threads or default_threads()
        options.pairs = 1 if options.quick else options.pairs
    return options


def answer(arms: Mapping[str, Arm], options: argparse.Namespace) -> bool:
    """In the process of an arm: measures, prints the figures and gives True. False in the one that compares."""
    if options.arm is None:
        return False
    given = json.loads(options.given)
    place = Place(Path(given.pop("work")), given.pop("threads"), given.pop("started"))
    print("\n" + json.dumps(arms[options.arm](place, **given)), flush=True)
    return True


def run_arm(
    script: str,
    arm: str,
    given: Mapping[str, Any],
    *,
    threads: int,
    home: Path | None = None,
    seconds: float | None = None,
) -> Figures:
    """The figures of one arm, measured in a process of its own.

    Args:
        given: keyword arguments of the arm, JSON.
        home: keeps burnish's caches from one run to another; an empty one when None.
        seconds: after which it is ended.

    Raises:
        ArmError: it failed, or was ended.
    """
    with tempfile.TemporaryDirectory() as work:
        own: dict[str, object] = {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads, "HF_HUB_OFFLINE": 1}
        own |= {"BURNISH_HOME": home or Path(work) / "home", "BURNISH_THREADS": threads, "PYTHONPATH": ROOT}
        environment = os.environ | {name: str(value) for name, value in own.items()}
        place = {"work": work, "threads": threads, "started": time.monotonic()}
        command = [sys.executable, script, "--arm", arm, "--given", json.dumps({**given, **place})]
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, env=environment, timeout=seconds
            )
        except subprocess.TimeoutExpired as ended:
            raise ArmError(f"{arm}: not finished after {seconds:.0f} seconds") from ended
    if done.returncode:
        raise ArmError(f"{arm}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def take_turns(arms: Mapping[str, Callable[[], Figures]], pairs: int) -> Measured:
    """Figures of each arm in each round; every other round goes backwards."""
    measured: Measured = {arm: [] for arm in arms}
    for pair in range(pairs):
        for arm in list(arms) if pair % 2 == 0 else reversed(list(arms)):
            print(f"round {pair + 1} of {pairs}: {arm}", file=sys.stderr, flush=True)
            measured[arm].append(arms[arm]())
    return measured


def quotients(measured: Measured, over: str, under: str, field: str) -> list[float]:
    """One arm's figure divided by another's, round by round."""
    pairs = zip(measured[over], measured[under], strict=True)
    return [above[field] / below[field] for above, below in pairs]


def median_of(measured: Measured, arm: str, field: str) -> float:
    return statistics.median(figures[field] for figures in measured[arm])


def with_range(values: Sequence[float], unit: str = "x") -> str:
    """Median and range: 1.70x (1.34 to 1.78)."""
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def report(
    script: str, options: argparse.Namespace, shown: str, result: Mapping[str, Any], folder: Path | None = None
) -> None:
    """Prints the table, and writes results/<script>.json with machine, versions, seed and what was measured.

    Args:
        folder: another one than results, which even quick rounds are written to.
    """
    import importlib.metadata

    from burnish.lifecycle.environment import describe_environment

    print(shown)
    peers = {}
    for name in PEERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            peers[name] = importlib.metadata.version(name)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # of the last minute: what else was going on
    told = {"pairs": options.pairs, "seed": options.seed, "threads": options.threads, "quick": options.quick}
    content = {**told, "environment": {**describe_environment(), **peers, "load": load}, **result}
    written = json.dumps(content, indent=1) + "\n"
    if folder or not options.quick:
        place = folder or RESULTS
        place.mkdir(exist_ok=True)
        (place / f"{Path(script).stem}.json").write_text(written, encoding="utf-8")
