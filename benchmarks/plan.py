"""Does `burnish plan` foresee whether fine-tuning pays? Its answer before, and the winner measured after.

python benchmarks/plan.py [SET ...]      the sets named, or all; what is measured already is kept

The winner of most sets is that of the runs in results/ (tabular.py, tagging.py, images.py, embedding.py, quality.py),
made from the same files by the same recipe; the other sets are trained and judged here. A set counts where
the measured verdict decides: better means fine-tuning won, same or worse that it did not; "too little data" is shown
and not counted. The rule of evaluation/advice.py was chosen on the sets of CHOSEN_ON, the others were held out.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import RESULTS, ROOT, table

import burnish
from burnish.lifecycle.advise import plan
from burnish.lifecycle.environment import describe_environment, peak_memory_bytes

SHARED = ROOT.parent / "shared"
DATA = SHARED / "data"
RESULT = RESULTS / "plan.json"
IMAGES = f"model.base={SHARED / 'models' / 'mobilenetv1-025-96-vww'}"
CHOSEN_ON = ("wnut17", "telco_churn", "elec2")
CUT = {"youtube_spam": 900}  # rows of a set that is trained here; of the other one all
Found = dict[str, Any]


def recorded(file: str, **which: Any) -> Found:
    """The verdict and the training time of a run in results/, the first that fits."""
    content = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))
    runs = content.get("runs", [content])
    run = next(run for run in runs if all(run.get(key) == value for key, value in which.items()))
    seconds = run.get("training_seconds") or run.get("training", {}).get("training_seconds")
    verdict = {name: value for name, value in run["verdict"].items() if name != "advice"}
    return {"verdict": verdict, "training_seconds": seconds, "from": f"results/{file}.json"}


def several(file: str) -> Found:
    """The verdict of the seed in the middle of three."""
    runs = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))["runs"]
    middle = sorted(runs, key=lambda run: run["verdict"]["difference"])[len(runs) // 2]
    verdict = {name: value for name, value in middle["verdict"].items() if name != "advice"}
    return {"verdict": verdict, "training_seconds": middle["training_seconds"], "from": f"results/{file}.json"}


def unpacked(name: str, work: Path) -> str:
    with zipfile.ZipFile(DATA / name / f"{name}.zip") as archive:
        archive.extractall(work / name)
    return str(work / name)


def numbered(work: Path) -> str:
    """elec2 with a column of its order, so that time can split it."""
    target = work / "elec2.csv"
    with (DATA / "elec2" / "elec.csv").open(encoding="utf-8", newline="") as rows:
        lines = list(csv.reader(rows))
    with target.open("w", encoding="utf-8", newline="") as stream:
        head, *body = lines
        csv.writer(stream, lineterminator="\n").writerows(
            [["half_hour", *head], *([i, *r] for i, r in enumerate(body))]
        )
    return str(target)


def spam(name: str, work: Path) -> str:
    """Rows of one of the spam sets as a CSV file."""
    if name == "sms_spam":
        lines = (DATA / name / "SMSSpamCollection.tsv").read_text(encoding="utf-8").splitlines()
        rows = [(text, label) for label, text in (line.split("\t", 1) for line in lines)]
    else:
        files = sorted((DATA / name).glob("*.csv"))
        rows = []
        for file in files:
            with file.open(encoding="utf-8", newline="") as stream:
                rows += [(line["text"], line["label"]) for line in csv.DictReader(stream)]
    different = sorted(set(rows))
    chosen = random.Random(13).sample(different, min(CUT.get(name, len(different)), len(different)))
    target = work / f"{name}.csv"
    with target.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("text", "label"), *chosen])
    return str(target)


def source_of(name: str, work: Path) -> tuple[str, list[str]]:
    """What `plan` and `train` are told about a set."""
    folder = DATA / name
    if name == "banking77":
        return str(folder / "train.csv"), [f"data.test={folder / 'test.csv'}"]
    if name == "clinc150":
        parts = [f"data.{part}={folder / part}.csv" for part in ("validation", "test")]
        return str(folder / "train.csv"), [*parts, "data.columns={text: text, label: intent}"]
    if name == "wnut17":
        return str(folder / "train.conll"), [f"data.{part}={folder / part}.conll" for part in ("validation", "test")]
    if name == "stsb_captions":
        parts = [f"data.{part}={folder / part}.csv" for part in ("validation", "test")]
        return str(folder / "train.csv"), ["task=embedding", *parts]
    if name in ("bccd_cells", "fashion_mnist_900"):
        return unpacked(name, work), [IMAGES, "method=full"]
    if name == "elec2":
        return numbered(work), ["data.time_column=half_hour"]
    if name in ("sms_spam", "youtube_spam"):
        return spam(name, work), ["data.test_ratio=0.333"]
    return str(next(folder.glob("*.csv"))), []


WINNERS: Mapping[str, Any] = {  # None: trained here
    "telco_churn": lambda: recorded("tabular", set="telco_churn"),
    "fashion_mnist_900": lambda: recorded("images", set="fashion_mnist_900"),
    "sms_spam": None,
    "banking77": lambda: several("quality-banking77"),
    "german_credit": lambda: recorded("tabular", set="german_credit"),
    "stsb_captions": lambda: recorded("embedding-stsb_captions"),
    "bccd_cells": lambda: recorded("images", set="bccd_cells"),
    "elec2": lambda: recorded("tabular", set="elec2"),
    "wnut17": lambda: recorded("tagging"),
    "youtube_spam": None,
    "clinc150": lambda: recorded("quality-clinc150", method="full"),
}


def measured(name: str, found: Found, work: Path) -> Found:
    """The plan of a set, then its winner; what `found` holds already is kept."""
    source, overrides = source_of(name, work)
    if "plan" not in found:
        started = time.monotonic()
        told = plan(source, overrides=overrides)
        kept = ("answer", "use", "sure", "expected_gain", "metric", "data", "arms", "rehearsal", "curve", "cost")
        seconds = round(time.monotonic() - started, 1)
        told["data"] = {key: value for key, value in told["data"].items() if key != "notes"}  # they name folders
        return {**found, "plan": {key: told[key] for key in kept}, "plan_seconds": seconds}
    if WINNERS[name] is not None:
        return {**found, "winner": WINNERS[name]()}
    run = burnish.train(source, overrides=overrides, output=work / "run")
    training = json.loads((run.path / "manifest.json").read_text(encoding="utf-8"))["training"]
    verdict = {key: value for key, value in run.verdict.items() if key != "advice"}
    winner = {"verdict": verdict, "training_seconds": training["training_seconds"], "from": "trained here"}
    return {**found, "winner": {**winner, "peak_memory_bytes": peak_memory_bytes()}}


def is_right(found: Found) -> bool | None:
    """Whether the plan foresaw the winner; None where the verdict does not decide."""
    answer = found["winner"]["verdict"]["answer"]
    if answer == "too little data":
        return None
    return bool((found["plan"]["answer"] == "fine-tune") == (answer == "better"))


def shown(sets: Mapping[str, Found]) -> str:
    rows, right = [], []
    for name, found in sets.items():
        if "winner" not in found:
            continue
        verdict, told = found["winner"]["verdict"], found["plan"]
        is_so = is_right(found)
        right += [] if is_so is None else [is_so]
        ends = " ".join(f"{100 * verdict[key]:+.1f}" for key in ("difference", "low", "high"))
        seconds = " / ".join(
            "?" if each is None else f"{each:.0f}"
            for each in (told["cost"]["training_seconds"], found["winner"]["training_seconds"])
        )
        word = {None: "not decided", True: "right", False: "wrong"}[is_so]
        held = "" if name in CHOSEN_ON else "held out"
        answer = f"{told['answer']}{': ' + told['use'] if told['use'] else ''} ({told['sure']})"
        rows.append([name, held, answer, f"{verdict['answer']}, {ends} (n = {verdict['n']:,})", word, seconds])
    heads = ["set", "", "plan", "measured, points", "", "training s: foreseen / measured"]
    return f"{table(heads, rows)}\n\nright on {sum(right)} of {len(right)} sets that are decided"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*WINNERS, []])
    arguments = parser.parse_args()
    content = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {"sets": {}}
    for name in arguments.sets or WINNERS:
        while "winner" not in content["sets"].get(name, {}):
            with tempfile.TemporaryDirectory() as work:
                content["sets"][name] = measured(name, content["sets"].get(name, {}), Path(work))
            content["environment"], content["seed"] = describe_environment(), 13
            RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            print(f"{name}: {', '.join(content['sets'][name])}", file=sys.stderr, flush=True)
    print(shown(content["sets"]))


if __name__ == "__main__":
    main()
