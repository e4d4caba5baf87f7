"""Are the groups of german_credit treated alike, and can the probabilities be believed?

    python benchmarks/trust.py table text --seeds 13

The 1,000 rows as a table (gradient-boosted trees, beside a transformer of eight steps), and seven columns of
each row written out as a text under a linear head on all-MiniLM-L6-v2. 30 % of the rows test, 20 % validate. Compared
are the groups of sex with marital status and of age; the gate allows a gap of ten points. The temperature is fitted on
validation rows only.
Prints a table and writes benchmarks/results/trust.json with machine, versions, seeds and n; runs that are finished are
not made again. Needs the public data sets in ../shared/data.
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
SOURCE = ROOT.parent / "shared" / "data" / "german_credit" / "german.csv"
RESULT = ROOT / "benchmarks" / "results" / "trust.json"
COLUMNS = ("personal_status_sex", "age")
TOLD = ("status", "duration_months", "credit_history", "purpose", "credit_amount", "savings", "employment_since")
SETTINGS = (
    *("data.test_ratio=0.3", "data.validation_ratio=0.2", f"evaluation.groups=[{', '.join(COLUMNS)}]"),
    *("evaluation.max_gap=0.1", "evaluation.min_accuracy=0.85", "training.threads=1"),
)
OF_KIND = {
    "table": ("training.max_steps=8",),
    "text": ("task=text-classification", "model.base=minilm", "method=head", "data.near_duplicates=false"),
}


def written_out(work: Path) -> Path:
    """Each row as a sentence of its cells; the columns whose groups are compared stand beside it, too."""
    target = work / "german_texts.csv"
    with SOURCE.open(encoding="utf-8", newline="") as rows, target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["text", "label", *COLUMNS])
        for row in csv.DictReader(rows):
            label = {"1": "good", "2": "bad"}[row["class"]]
            text = ", ".join(f"{name.replace('_', ' ')} {row[name]}" for name in TOLD)
            writer.writerow([text, label, *(row[column] for column in COLUMNS)])
    return target


def one_run(kind: str, seed: int, work: Path) -> dict[str, Any]:
    """One training in its own process, resumed when it was stopped before."""
    output, data = work / f"trust-{kind}-{seed}", SOURCE if kind == "table" else written_out(work)
    command = [sys.executable, "-m", "burnish", "train", str(data), "--seed", str(seed), "--output", str(output)]
    for setting in (*SETTINGS, *OF_KIND[kind]):
        command += ["--set", setting]
    command += ["--resume", "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
    evaluation = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    kept = ("n", "metric", "groups", "gates", "calibration", "confidence", "robustness", "shipped")
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    return {
        "kind": kind,
        "seed": seed,
        **{name: evaluation[name] for name in kept if name in evaluation},
        "seconds": manifest["seconds"],
        "environment": manifest["environment"],
    }


def shown(entry: dict[str, Any], scale: float = 100.0) -> str:
    value, low, high = (scale * entry[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def tables(runs: list[dict[str, Any]]) -> str:
    lines = ["| rows as | seed | n | groups of | metric | best | worst | gap, points | gate |", "|" + "---|" * 9]
    for run in runs:
        gate = run["gates"][0]
        for column in run["groups"]["columns"]:
            if gap := column["gap"]:
                said = "passed" if gate["passed"] else "not passed"
                cells = [run["kind"], run["seed"], run["n"], column["column"], run["groups"]["metric"]]
                lines.append("| " + " | ".join(map(str, [*cells, gap["best"], gap["worst"], shown(gap), said])) + " |")
    lines += ["", "| rows as | seed | n | model | T | figure, x 100 | before | after | change |", "|" + "---|" * 9]
    for run in runs:
        for name, model in run["calibration"]["models"].items():
            for metric, figures in model["figures"].items():
                cells = [run["kind"], run["seed"], run["n"], name, f"{model['temperature']['temperature']:.2f}", metric]
                cells += [shown(figures[key]) for key in ("before", "after", "difference")]
                lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(OF_KIND), help=", ".join(OF_KIND))
    parser.add_argument("--seeds", type=int, nargs="+", default=[13])
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "benchmarks")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    runs = [one_run(kind, seed, options.work) for kind in options.kinds for seed in options.seeds]
    print(tables(runs))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"runs": runs}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
