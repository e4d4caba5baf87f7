"""Does a run made again come out the same, on real data, in another process, with an empty cache?

    python benchmarks/reproduce.py

Three jobs: banking77 with MiniLM (method head, and full), e2e_nlg with stories260k (LoRA), stsb_captions with MiniLM
(embedding, full), on cuts that train in seconds. Each is trained by `burnish train`, made again by
`burnish reproduce` in a process and a BURNISH_HOME of its own, and made once more with another number of threads.

Prints a table and writes benchmarks/results/reproduce.json. Needs the extra demo and ../shared.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from measuring import RESULTS, ROOT, parsed, parser, read_rows, report, sample_rows, table, write_rows

SHARED = ROOT.parent / "shared"
WRITTEN = RESULTS / "reproduce.json"
THREADS = (1, 2)  # of the runs, and of the one that is made otherwise


def banking(folder: Path, count: int, seed: int) -> Path:
    rows, _ = sample_rows(read_rows("train")[1], count, seed)
    frequent = sorted({row.label for row in rows}, key=lambda label: (-sum(r.label == label for r in rows), label))
    return Path(write_rows(folder / "banking77.csv", [row for row in rows if row.label in frequent[:10]]))


def restaurants(folder: Path, count: int, _: int) -> Path:
    with (SHARED / "data" / "e2e_nlg" / "train.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))[::40][:count]  # neighbours say the same in other words
    lines = [json.dumps({"prompt": row["mr"], "completion": row["ref"]}) for row in rows]
    path = folder / "e2e.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def captions(folder: Path, count: int, _: int) -> Path:
    lines = (SHARED / "data" / "stsb_captions" / "train.csv").read_text(encoding="utf-8").splitlines()
    path = folder / "stsb.csv"
    path.write_text("\n".join(lines[: count + 1]) + "\n", encoding="utf-8")
    return path


JOBS: Mapping[str, tuple[Callable[[Path, int, int], Path], int, tuple[str, ...]]] = {
    "banking77, MiniLM, head": (banking, 1_200, ("model.base=minilm", "method=head")),
    "banking77, MiniLM, full": (banking, 1_200, ("model.base=minilm", "method=full", "training.max_steps=6")),
    "e2e_nlg, stories260k, LoRA": (
        restaurants,
        300,
        (
            f"model.base={SHARED / 'models' / 'stories260k'}",
            "model.chat_template=plain",
            "method=lora",
            "training.max_steps=6",
            "evaluation.max_prompts=16",
        ),
    ),
    "stsb, MiniLM, embedding": (
        captions,
        300,
        ("model.base=minilm", "method=full", "training.max_steps=6", "task=embedding"),
    ),
}


HEAD = (
    *("job", "test rows", "bit-equal again", f"{THREADS[1]} threads: largest difference of a weight"),
    *("first step that differs", "other answers", "named"),
)


def burnish(home: Path, *arguments: object) -> dict[str, Any]:
    """What a command says as JSON; exit codes 0 and 1 are answers."""
    own = {"BURNISH_HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "burnish", *map(str, arguments), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | own)
    if done.returncode not in (0, 1):
        sys.exit(f"{command}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def measured(name: str, folder: Path, seed: int, *, quick: bool) -> dict[str, Any]:
    """One job: made, made again, and made with another number of threads."""
    make, count, settings = JOBS[name]
    data = make(folder, count // 2 if quick else count, seed)
    chosen = [*settings, f"training.threads={THREADS[0]}", f"training.seed={seed}", "evaluation.robustness_rows=0"]
    given = [part for setting in chosen for part in ("--set", setting)]
    first = burnish(folder / "home", "train", data, *given, "--output", folder / "run")
    print(f"{name}: trained", file=sys.stderr, flush=True)
    again = burnish(folder / "home-2", "reproduce", folder / "run", "--output", folder / "again")
    print(f"{name}: made again, bit-equal: {again['bit_equal']}", file=sys.stderr, flush=True)
    other = burnish(
        folder / "home-3",
        *("reproduce", folder / "run", "--output", folder / "other"),
        *("--set", f"training.threads={THREADS[1]}"),
    )
    print(f"{name}: {THREADS[1]} threads, bit-equal: {other['bit_equal']}", file=sys.stderr, flush=True)
    parts = ("bit_equal", "files", "weights", "steps", "evaluation", "predictions", "differences")
    return {
        "settings": [setting.replace(str(SHARED), "../shared") for setting in chosen],
        "n": first["models"]["tuned"][first["verdict"]["metric"]]["n"],
        "again": {part: again[part] for part in parts},
        "threads": {part: other[part] for part in parts},
    }


def row(name: str, found: Mapping[str, Any]) -> list[object]:
    again, other = found["again"], found["threads"]
    weights, flipped = other["weights"], other["predictions"]["flipped"]
    alike = (
        f"{again['files']['count']} files, {again['steps']['lines'][0]} lines, {again['evaluation']['count']} values"
    )
    return [
        name,
        found["n"],
        f"yes: {alike}" if again["bit_equal"] else "NO",
        "bit-equal" if other["bit_equal"] else f"{weights['largest']:.1e}" if weights else "weights equal",
        other["steps"]["first_step"] or "–",
        f"{flipped} of {other['predictions']['rows'][0]}",
        ", ".join(each["what"] for each in other["differences"]),
    ]


def main() -> None:
    arguments = parser(__doc__ or "", pairs=1)
    arguments.add_argument(
        "--jobs", nargs="+", choices=list(JOBS), default=list(JOBS), help="the others stay as they are"
    )
    options = parsed(arguments)
    found = json.loads(WRITTEN.read_text(encoding="utf-8"))["jobs"] if WRITTEN.is_file() else {}
    for name in options.jobs:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measured(name, Path(folder), options.seed, quick=options.quick)
        shown = table(HEAD, [row(job, found[job]) for job in JOBS if job in found])
        report(__file__, options, shown, {"jobs": found})  # after each: a job takes minutes


if __name__ == "__main__":
    main()
