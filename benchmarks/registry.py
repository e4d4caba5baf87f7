"""How long do lists, filters and one version take in a registry of ten thousand runs, and how much disk does it use?

    python benchmarks/registry.py [--runs 10000]

Each run is recorded as `burnish train` records it: recipe, manifest, evaluation, metrics and card (those of one real
training), with a data version and a base. While the registry is filled nothing waits for the disk; what recording a run
takes is measured afterwards, with all its waiting. Measured are the command lines, whole processes, three times
each, and the calls alone. Prints a table and writes benchmarks/results/registry.json.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import DEMO, parsed, parser, report, table

import burnish
from burnish.lifecycle.promote import describe_version, list_models
from burnish.lifecycle.versions import store_run
from burnish.registry import database
from burnish.registry.aliases import point
from burnish.registry.database import open_database
from burnish.registry.store import Registry, open_registry
from burnish.registry.version import NewVersion
from burnish.settings import settings
from burnish.storage.run_folder import RunFolder

TASKS = ("text-classification", "chat", "embedding", "tabular")
RECORDED = 100  # further runs, for the time that recording takes
MODELS = 100  # of the runs whose models are kept: one small file each, since only rows and names are looked at


def main() -> None:
    arguments = parser(__doc__ or "", pairs=3)
    arguments.add_argument("--runs", type=int, default=10_000)
    options = parsed(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ |= {"BURNISH_HOME": str(work / "home"), "BURNISH_RUNS": str(work / "runs")}
        settings.cache_clear()
        with without_waiting():
            copy = fill(work, options.runs)
        open_database.cache_clear()
        seconds = record(copy, range(options.runs, options.runs + RECORDED))
        found = {
            "runs": options.runs,
            "recording_ms": round(1_000 * seconds / RECORDED, 1),
            "disk_mb": round(sum(p.stat().st_size for p in (work / "home").rglob("*") if p.is_file()) / 1e6, 1),
            "blocks_mb": round(sum(p.stat().st_blocks * 512 for p in (work / "home").rglob("*")) / 1e6, 1),
            "database_mb": round((work / "home" / "registry.db").stat().st_size / 1e6, 1),
            "calls_ms": {name: measured(call, options.pairs) for name, call in calls().items()},
            "commands_ms": {" ".join(words): whole(words, options.pairs) for words in COMMANDS},
        }
    report(__file__, options, shown(found), found)


COMMANDS = (
    ("runs", "list", "--all", "--limit", "50"),
    ("runs", "list", "--all", "--task", "chat", "--answer", "better", "--limit", "50"),
    ("models", "list"),
    ("models", "show", "model-7:champion"),
)


@contextmanager
def without_waiting() -> Iterator[None]:
    """Files and rows are written, and reach the disk when the system likes."""
    kept = os.fsync, database._durable_sqlite
    os.fsync = lambda descriptor: None
    database._durable_sqlite = lambda connection, _: connection.execute("PRAGMA synchronous=OFF")
    try:
        yield
    finally:
        os.fsync, database._durable_sqlite = kept


def fill(work: Path, count: int) -> Path:
    """Records that many runs, and keeps some models; gives a run's folder."""
    run = burnish.train(DEMO / "train.csv", overrides=["method=head", "training.threads=1"], output=work / "first")
    copy = work / "copy"
    shutil.copytree(run.path, copy, ignore=shutil.ignore_patterns("checkpoints", "final", "reference", ".lock"))
    record(copy, range(count))
    return copy


def record(copy: Path, numbers: range) -> float:
    """Records runs that differ in id, task and verdict; gives the seconds."""
    chance, registry = random.Random(13), open_registry()
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    started = time.monotonic()
    for number in numbers:
        changed = {"id": f"run-{number:05}", "task": chance.choice(TASKS)}
        verdict = manifest["verdict"] | {"answer": chance.choice(("better", "same", "worse"))}
        content = json.dumps({**manifest, **changed, "verdict": verdict})
        (copy / "manifest.json").write_text(content, encoding="utf-8")
        version = store_run(registry, RunFolder(copy))
        if number < MODELS:
            keep(registry, version.id, number, copy)
    return time.monotonic() - started


def keep(registry: Registry, run: str, number: int, copy: Path) -> None:
    files = {"manifest.json": copy / "manifest.json"}
    search = {"task": TASKS[number % len(TASKS)], "method": "head", "answer": "better"}
    new = NewVersion("model", f"model-{number % 10}", files=files, parents={"run": run}, search=search)
    point(registry, registry.put(new), "champion", gates=())


def calls() -> dict[str, Callable[[], Any]]:
    registry = open_registry()
    return {
        "list 50 of the runs": lambda: registry.versions("run", limit=50),
        "list all runs": lambda: registry.versions("run"),
        "filter by task and verdict": lambda: registry.versions("run", task="chat", answer="better"),
        "list the models": list_models,
        "show a model": lambda: describe_version("model-7:champion"),
        "show a run": lambda: describe_version("run-00777"),
    }


def measured(call: Callable[[], Any], times: int) -> float:
    """Median milliseconds of a call."""

    def once() -> float:
        started = time.perf_counter()
        call()
        return 1_000 * (time.perf_counter() - started)

    return round(statistics.median(once() for _ in range(times)), 1)


def whole(words: tuple[str, ...], times: int) -> float:
    """Median milliseconds of a command, from the start of its process to its end."""
    command = [sys.executable, "-m", "burnish", *words]
    return measured(lambda: subprocess.run(command, check=True, capture_output=True), times)


def shown(found: dict[str, Any]) -> str:
    rows = [[name, f"{ms:,.0f}"] for part in ("calls_ms", "commands_ms") for name, ms in found[part].items()]
    about = (
        f"{found['runs']:,} runs: {found['disk_mb']:,} MB ({found['blocks_mb']:,} MB of disk blocks), of which the "
        f"database {found['database_mb']:,} MB; {found['recording_ms']} ms to record one"
    )
    return f"{table(['what', 'median ms'], rows)}\n\n{about}"


if __name__ == "__main__":
    main()
