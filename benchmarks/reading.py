"""How fast are rows read, and how much memory does it take? burnish, pandas and datasets over the same files.

    python benchmarks/reading.py --rows 10000 100000 1000000

Rows of about 100 characters, text and label, as CSV, JSONL and Parquet. burnish gives every row as a record with its
file and line and holds none of them; with "+ check" it does all that `burnish check` does without a model (columns,
empty and repeated rows, labels, split). pandas and datasets end with the whole table. Each reading is a process of its
own, the best of three up to 100,000 rows, CPU seconds without imports; memory is the peak above what the process holds
after its imports.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from burnish.lifecycle.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "reading.json"
REPEATS = {True: 3, False: 1}  # up to 100,000 rows, and above
FORMATS = ("csv", "jsonl", "parquet")


def write_rows(folder: Path, count: int) -> dict[str, Path]:
    """The same rows in each format that can be written here."""
    chance = random.Random(count)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 9))) for _ in range(3000)]
    rows = [(f"{' '.join(chance.choices(words, k=14))} {i}", f"class {i % 20}") for i in range(count)]
    paths = {name: folder / f"{count}.{name}" for name in FORMATS}
    with paths["csv"].open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    with paths["jsonl"].open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    if find_spec("pyarrow") is None:
        del paths["parquet"]
        return paths
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), paths["parquet"]
    )
    return paths


def with_burnish(path: Path) -> int:
    from burnish.data.options import DataOptions
    from burnish.data.source import inspect_source, read_source

    options = DataOptions(train=path.name)
    return sum(1 for _ in read_source(path, inspect_source(path, options), options))


def with_burnish_check(path: Path) -> int:
    from burnish.data.options import DataOptions
    from burnish.data.prepare import prepare

    options = DataOptions(train=path.name)
    data = prepare(options, {"text": str, "label": str}, base_folder=path.parent, seed=13)
    return sum(facts["rows"] for facts in data.files.values())


def with_pandas(path: Path) -> int:
    import pandas as pd

    if path.suffix == ".csv":
        return len(pd.read_csv(path))
    return len(pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True))


def with_datasets(path: Path) -> int:
    import datasets

    kind = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}[path.suffix]
    with tempfile.TemporaryDirectory() as cache:  # its cache would make the second reading free
        return len(datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=cache))


READERS: dict[str, tuple[str, str, Callable[[Path], int]]] = {  # name -> package, what to import first, reader
    "burnish": ("burnish", "burnish.data.prepare", with_burnish),
    "burnish + check": ("burnish", "burnish.data.prepare", with_burnish_check),
    "pandas": ("pandas", "pandas", with_pandas),
    "datasets": ("datasets", "datasets", with_datasets),
}


def measure_here(reader: str, path: Path) -> dict[str, float]:
    """Rows, CPU seconds and memory of one reading in this process."""
    _, module, read = READERS[reader]
    __import__(module)
    if path.suffix == ".parquet" and find_spec("pyarrow"):
        __import__("pyarrow.parquet")
    before = peak_bytes()
    started = time.process_time()
    rows = read(path)
    seconds = time.process_time() - started
    return {"rows": rows, "seconds": seconds, "megabytes": (peak_bytes() - before) / 1e6}


def peak_bytes() -> int:
    """The most memory this program has held. Linux's ru_maxrss remembers the process it was started from."""
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(reader: str, path: Path, repeats: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--reader", reader, "--file", str(path)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    runs = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
        for _ in range(repeats)
    ]
    best = min(runs, key=lambda run: run["seconds"])
    return {"rows": best["rows"], "rows_per_second": best["rows"] / best["seconds"], "megabytes": best["megabytes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        print(json.dumps(measure_here(options.reader, options.file)))
        return
    absent = [name for name, (package, _, _) in READERS.items() if find_spec(package) is None]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for count in options.rows:
            for kind, path in write_rows(Path(folder), count).items():
                for reader in (name for name in READERS if name not in absent):
                    figures = {"reader": reader, "format": kind, **measure(reader, path, REPEATS[count <= 100_000])}
                    results.append(figures)
                    shown = f"{figures['rows_per_second']:>12,.0f} rows/s {figures['megabytes']:>8,.0f} MB"
                    print(f"{kind:<8} {count:>9,} {reader:<16} {shown}", flush=True)
    for name in absent:
        print(f"{name} is not installed and was not measured")
    about = {"environment": describe_environment(), "absent": absent}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**about, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
