"""How good are the models, on real data, against the arms that need no fine-tuning?

    python benchmarks/quality.py banking77 --seeds 13 14 15
    python benchmarks/quality.py clinc150 --methods head lora full

Each run is its own process; settings are burnish's defaults unless --set says otherwise, and none of them was chosen
on test rows. Prints a table and writes benchmarks/results/quality-<set>.json with machine, versions, seeds and n.
Needs the public data sets in ../shared/data.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results"


def arguments_of(name: str, work: Path) -> list[str]:
    """What `burnish train` is told about a data set."""
    if name == "banking77":
        return [str(DATA / "banking77" / "train.csv"), "--test", str(DATA / "banking77" / "test.csv")]
    parts = {}
    for part in ("train", "validation", "test"):  # in-scope only: the 150 intents without "oos"
        rows = list(csv.DictReader((DATA / "clinc150" / f"{part}.csv").open(encoding="utf-8")))
        parts[part] = work / f"clinc150-{part}.csv"
        with parts[part].open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, ["text", "intent"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for row in rows if row["intent"] != "oos")
    return [str(parts["train"]), "--test", str(parts["test"]), "--set", f"data.validation={parts['validation']}"]


def one_run(name: str, method: str, seed: int, work: Path, settings: list[str]) -> dict[str, Any]:
    """One training in its own process, resumed when it was stopped before."""
    output = work / f"{name}-{method}-{seed}"
    command = [sys.executable, "-m", "burnish", "train", *arguments_of(name, work), "--seed", str(seed)]
    command += ["--output", str(output), "--resume", "--json", "--set", f"method={method}"]
    steps = [setting for setting in settings if method != "head" or not setting.startswith("training.")]
    command += [part for setting in steps for part in ("--set", setting)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
    evaluation = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    training, verdict = manifest["training"], evaluation["verdict"]
    return {
        "method": method,
        "seed": seed,
        "n": evaluation["n"],
        "accuracy": evaluation["models"]["tuned"]["accuracy"],
        "arms": {arm: models["accuracy"]["value"] for arm, models in evaluation["models"].items()},
        "verdict": verdict,
        "trainable_share": training["trainable_parameters"] / training["total_parameters"],
        "training_seconds": training["training_seconds"],
        "total_seconds": manifest["seconds"],
        "peak_memory_bytes": training["peak_memory_bytes"],
        "best_step": training["best_step"],
        "environment": manifest["environment"],
    }


def table(runs: list[dict[str, Any]]) -> str:
    lines = ["| method | seed | accuracy | 95 % interval | against | difference | share learned | min | peak MB |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for run in runs:
        a, v = run["accuracy"], run["verdict"]
        cells = [
            run["method"],
            run["seed"],
            f"{100 * a['value']:.2f}",
            f"{100 * a['low']:.1f} to {100 * a['high']:.1f}",
            f"{v['against']} ({v['metric']})",
            f"{100 * v['difference']:+.2f} [{100 * v['low']:+.2f}, {100 * v['high']:+.2f}]",
            f"{run['trainable_share']:.2%}",
            f"{run['training_seconds'] / 60:.1f}",
            f"{run['peak_memory_bytes'] / 1e6:,.0f}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("banking77", "clinc150"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[13])
    parser.add_argument("--methods", nargs="+", default=["full"])
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="a.b=c")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "benchmarks")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    runs = [
        one_run(options.set, method, seed, options.work, options.settings)
        for method in options.methods
        for seed in options.seeds
    ]
    print(table(runs))
    for method in options.methods:
        values = [run["accuracy"]["value"] for run in runs if run["method"] == method]
        print(f"{method}: mean accuracy {100 * statistics.mean(values):.2f} over {len(values)} seeds")
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"quality-{options.set}.json"
    target.write_text(json.dumps({"settings": options.settings, "runs": runs}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
