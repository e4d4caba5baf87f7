"""Does a transformer beat gradient-boosted trees on tables, and is the advice right?

    python benchmarks/tabular.py telco_churn german_credit elec2 --seeds 13 14 15

Each run is its own process with burnish's defaults; none of them was chosen on test rows. Of elec2, which is in the
order of time, the newest rows test. Prints a table and writes benchmarks/results/tabular.json with machine, versions,
seeds and n. Needs the public data sets in ../shared/data.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULT = ROOT / "benchmarks" / "results" / "tabular.json"
FILES = {"telco_churn": "churn.csv", "german_credit": "german.csv", "elec2": "elec.csv"}
ARMS = ("tuned", "trees", "linear", "mean")


def arguments_of(name: str, work: Path) -> list[str]:
    """What `burnish train` is told about a data set; the rows of elec2 are numbered, so that time can split them."""
    source = DATA / name / FILES[name]
    if name != "elec2":
        return [str(source)]
    numbered = work / "elec2.csv"
    with source.open(encoding="utf-8", newline="") as rows, numbered.open("w", encoding="utf-8", newline="") as target:
        lines = csv.reader(rows)
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(["half_hour", *next(lines)])
        writer.writerows([number, *line] for number, line in enumerate(lines))
    return [str(numbered), "--set", "data.time_column=half_hour"]


def one_run(name: str, seed: int, work: Path) -> dict[str, Any]:
    """One training in its own process, resumed when it was stopped before."""
    output = work / f"{name}-{seed}"
    command = [sys.executable, "-m", "burnish", "train", *arguments_of(name, work), "--seed", str(seed)]
    command += ["--output", str(output), "--resume", "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
    evaluation = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    return {
        "set": name,
        "seed": seed,
        "n": evaluation["n"],
        "metric": evaluation["metric"],
        "models": evaluation["models"],
        "validation": evaluation["validation"],
        "verdict": evaluation["verdict"],
        "shipped": evaluation["shipped"],
        "trees": evaluation["arms"]["trees"],
        "training_seconds": manifest["training"]["training_seconds"],
        "total_seconds": manifest["seconds"],
        "environment": manifest["environment"],
    }


def table(runs: list[dict[str, Any]]) -> str:
    lines = [f"| set | seed | n | metric | {' | '.join(ARMS)} | verdict | against | difference | ships | min |"]
    lines.append("|" + "---|" * (9 + len(ARMS)))
    for run in runs:
        verdict = run["verdict"]
        values = (run["models"][arm][run["metric"]] for arm in ARMS)
        shown = (f"{100 * v['value']:.1f} [{100 * v['low']:.1f}, {100 * v['high']:.1f}]" for v in values)
        difference = " ".join(f"{100 * verdict[key]:+.1f}" for key in ("difference", "low", "high"))
        cells = [run["set"], run["seed"], run["n"], run["metric"], *shown, verdict["answer"], verdict["against"]]
        cells += [difference, run["shipped"], f"{run['total_seconds'] / 60:.1f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(FILES), help=", ".join(FILES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[13])
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "benchmarks")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    runs = [one_run(name, seed, options.work) for name in options.sets for seed in options.seeds]
    print(table(runs))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"runs": runs}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
