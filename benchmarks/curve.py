"""Does the law of `burnish curve` at 40 % of the rows foresee what all of them give?

python benchmarks/curve.py [SET ...] [--work DIR]      the sets named, or all; what is measured already is kept

Each set is cut to ROWS random rows (4,000 of clinc150), of which 30 % validate. A curve on 40 % of the training rows, in
four doublings, foresees the value of all of them with a 95 % interval; then all are trained on and judged on the same
validation rows. `method: head`; the test rows are not looked at.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measuring import BANKING77, DEMO, RESULTS, Row, rows_of, table, write_rows

from burnish.evaluation.learning_curve import Point, fit_law
from burnish.lifecycle.curve import curve
from burnish.lifecycle.environment import describe_environment

DATA = BANKING77.parent
RESULT = RESULTS / "curve.json"
ROWS, SHARE, SEED = 1_000, 0.4, 13
MANY = {"clinc150": 4_000}  # 150 labels: subsets of a thousand rows would not hold each


def rows_of_set(name: str) -> list[Row]:
    if name == "sms_spam":
        lines = (DATA / name / "SMSSpamCollection.tsv").read_text(encoding="utf-8").splitlines()
        return [Row(text, label) for label, text in (line.split("\t", 1) for line in lines)]
    if name == "youtube_spam":
        return [row for file in sorted((DATA / name).glob("*.csv")) for row in rows_of(file)]
    if name == "demo":
        return rows_of(DEMO / "train.csv", text="message", label="next_action")
    return rows_of(DATA / name / "train.csv", label={"banking77": "category", "clinc150": "intent"}[name])


BOUNDS = ("value", "low", "high")
SETS = ("sms_spam", "demo", "banking77", "clinc150", "youtube_spam")


def measured(name: str, work: Path) -> dict[str, Any]:
    rows = sorted(set(rows_of_set(name)), key=lambda row: (row.text, row.label))
    work = work / name
    work.mkdir(parents=True, exist_ok=True)
    file = write_rows(work / f"{name}.csv", random.Random(SEED).sample(rows, MANY.get(name, ROWS)))
    overrides = ["data.validation_ratio=0.3", "data.test_ratio=0.1", "training.threads=1"]
    foreseen = curve(file, overrides=overrides, share=SHARE, output=work / "part")
    whole = curve(file, overrides=overrides, points=3, output=work / "whole")
    last = whole["points"][-1]
    points = [Point(p["rows"], *(p["values"]["tuned"][key] for key in BOUNDS)) for p in foreseen["points"]]
    law = fit_law(points, higher_is_better=True, seed=SEED)
    forecast = asdict(law.at(last["rows"]))  # a part of the rows chooses, so that a little fewer are learned from
    return {
        "metric": foreseen["metric"],
        "points": [{"rows": p["rows"], **p["values"]["tuned"]} for p in foreseen["points"]],
        "law": foreseen["law"],
        "lever": foreseen["lever"],
        "forecast": forecast,
        "measured": {"rows": last["rows"], **last["values"]["tuned"]},
        "holds": forecast["low"] <= last["values"]["tuned"]["value"] <= forecast["high"],
    }


def shown(sets: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, found in sets.items():
        points = ", ".join(f"{p['rows']}: {100 * p['value']:.1f}" for p in found["points"])
        forecast = " ".join(f"{100 * found['forecast'][key]:.1f}" for key in ("value", "low", "high"))
        last = found["measured"]
        at = f"{last['rows']}: {100 * last['value']:.1f} (n = {last['n']})"
        lines.append([name, found["metric"], points, forecast, at, "yes" if found["holds"] else "no"])
    heads = ["set", "metric", "measured at 40 % and less", "foreseen for all, low, high", "measured", "held"]
    held = sum(found["holds"] for found in sets.values())
    return f"{table(heads, lines)}\n\nthe interval holds the measured value on {held} of {len(sets)} sets"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []])
    parser.add_argument("--work", type=Path, help="keeps the points, so that a stopped benchmark goes on")
    arguments = parser.parse_args()
    content = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {"sets": {}}
    for name in arguments.sets or SETS:
        if name in content["sets"]:
            continue
        with tempfile.TemporaryDirectory() as work:
            content["sets"][name] = measured(name, arguments.work or Path(work))
        content |= {"environment": describe_environment(), "seed": SEED, "rows": ROWS, "share": SHARE}
        RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: done", file=sys.stderr, flush=True)
    print(shown(content["sets"]))


if __name__ == "__main__":
    main()
