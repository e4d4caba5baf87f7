"""Does `burnish monitor` keep silent when nothing has changed, and how small a change does it see?

python benchmarks/monitor.py [--draws 20] [--halves 200] [--only NAME] [--work DIR]

A head on MiniLM is trained once on a cut of each data set; its vectors and predictions of all other rows are made once.

- silence: halves of 500 random rows of banking77 and clinc150, one as the reference and one as the new rows;
- power: 1,000 reference rows of clinc150 against n new ones, a share of them requests outside its 150 classes;
- alarms: a model of sms_spam on comments of youtube_spam; clinc150 with 20 % of such requests; and with none.

Each part writes what it has measured into results/monitor.json when it is done.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, ROOT, table

import burnish
from burnish.evaluation.metrics.resampling import wilson_interval
from burnish.lifecycle.environment import describe_environment
from burnish.lifecycle.monitor import monitor
from burnish.lifecycle.observe import recorded, text_sample, vectors
from burnish.model.load import find_base
from burnish.monitoring.drift import Sample, compare, newness
from burnish.recipe.read import read_recipe
from burnish.types import Silent

DATA = ROOT.parent / "shared" / "data"
ALPHA = 0.01
HALF, REFERENCE = 250, 1_000
SHARES, SIZES = (0.05, 0.1, 0.2, 0.5), (50, 200, 500, 1_000)
OUTSIDE = "oos"  # label of clinc150's requests that belong to no class

Rows = list[tuple[str, str]]


def rows_of(path: Path, text: str, label: str) -> Rows:
    with path.open(encoding="utf-8", newline="") as stream:
        return list({line[text]: line[label] for line in csv.DictReader(stream)}.items())


def sms() -> Rows:
    lines = (DATA / "sms_spam" / "SMSSpamCollection.tsv").read_text(encoding="utf-8").splitlines()
    split = (line.split("\t", 1) for line in lines)
    return list({text: "1" if label == "spam" else "0" for label, text in split}.items())


def youtube() -> Rows:
    files = sorted((DATA / "youtube_spam").glob("*.csv"))
    return list({row: None for path in files for row in rows_of(path, "text", "label")})


def shuffled(rows: Rows, seed: int) -> Rows:
    return random.Random(seed).sample(rows, len(rows))


def write(path: Path, rows: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("text", "label"), *rows])
    return path


def trained(work: Path, name: str, train: Rows, test: Rows, seed: int) -> burnish.Run:
    """A head on MiniLM; the one in the folder when it is there already."""
    files = (write(work / f"{name}-train.csv", train), write(work / f"{name}-test.csv", test))
    settings = ["method=head"]
    return burnish.train(files[0], test=files[1], overrides=settings, seed=seed, output=work / name, resume=True)


def observed(run: burnish.Run, rows: Rows) -> Sample:
    """What the monitor sees of rows, without their labels."""
    asked = [{"text": text} for text, _ in rows]
    base = find_base(read_recipe(run.folder.recipe).model, recipe_folder=Path(), runs=run.runs)
    said = list(map(recorded, run.predict(asked)))
    return text_sample("text-classification", asked, vectors("text-classification", asked, base, Silent()), said)


def part(sample: Sample, places: Sequence[int]) -> Sample:
    chosen = np.asarray(places)
    numbers = {name: values[chosen] for name, values in sample.numbers.items()}
    kinds = {name: [values[i] for i in places] for name, values in sample.kinds.items()}
    assert sample.vectors is not None
    return Sample(sample.vectors[chosen], numbers, kinds)


def clinc(work: Path, seed: int) -> tuple[burnish.Run, Rows, Rows]:
    """A run of 3,000 rows, and the test rows inside and outside its classes."""
    folder = DATA / "clinc150"
    train = [row for row in rows_of(folder / "train.csv", "text", "intent") if row[1] != OUTSIDE]
    test = shuffled(rows_of(folder / "test.csv", "text", "intent"), seed)
    inside, outside = ([row for row in test if (row[1] == OUTSIDE) == out] for out in (False, True))
    run = trained(work, "clinc150", shuffled(train, seed)[:3_000], inside[:REFERENCE], seed)
    return run, inside, outside


def banking(work: Path, seed: int) -> tuple[burnish.Run, Rows, Rows]:
    folder = DATA / "banking77"
    train, test = (rows_of(folder / f"{name}.csv", "text", "category") for name in ("train", "test"))
    test = shuffled(test, seed)
    return trained(work, "banking77", shuffled(train, seed)[:3_000], test[:REFERENCE], seed), test, []


def silence(
    source: Callable[[Path, int], tuple[burnish.Run, Rows, Rows]], work: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """How often halves of the same rows alarm."""
    run, inside, _ = source(work, options.seed)
    seen = observed(run, inside)
    alarms: dict[str, int] = {}
    for draw in range(options.halves):
        places = random.Random(options.seed + draw).sample(range(len(inside)), 2 * HALF)
        tests = compare(part(seen, places[:HALF]), part(seen, places[HALF:]), alpha=ALPHA, seed=draw)
        for name in [test.of for test in tests if test.adjusted <= ALPHA] or ["none"]:
            alarms[name] = alarms.get(name, 0) + 1
        print(f"half {draw + 1}: {alarms}", file=sys.stderr, flush=True)
    false = options.halves - alarms.get("none", 0)
    low, high = wilson_interval(false, options.halves)
    return {"halves": options.halves, "rows": HALF, "false_alarms": false, "low": low, "high": high, "by_test": alarms}


def power(size: int, work: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """How often a share of rows outside the classes alarms, and how many of the ten rows that look newest are some."""
    run, inside, outside = clinc(work, options.seed)
    seen, strange = observed(run, inside), observed(run, outside)
    whole = Sample(
        np.concatenate([seen.vectors, strange.vectors]),  # type: ignore[list-item]
        {name: np.concatenate([values, strange.numbers[name]]) for name, values in seen.numbers.items()},
        {name: [*values, *strange.kinds[name]] for name, values in seen.kinds.items()},
    )
    found = []
    for share in SHARES:
        cell: dict[str, Any] = {"n": size, "share": share, "draws": options.draws, "alarms": 0, "by_test": {}}
        right, shown = 0, 0
        for draw in range(options.draws):
            chance = random.Random(1_000 * options.seed + draw)
            known = chance.sample(range(len(inside)), REFERENCE + size)
            others = [len(inside) + i for i in chance.sample(range(len(outside)), round(share * size))]
            new = [*known[REFERENCE : REFERENCE + size - len(others)], *others]
            both = part(whole, known[:REFERENCE]), part(whole, new)
            tests = [t.of for t in compare(*both, alpha=ALPHA, seed=draw) if t.adjusted <= ALPHA]
            cell["alarms"] += bool(tests)
            for name in tests:
                cell["by_test"][name] = cell["by_test"].get(name, 0) + 1
            if tests and draw < 10:
                first = newness(*both).first(10)
                right += sum(new[place] >= len(inside) for place in first)
                shown += len(first)
        cell["low"], cell["high"] = wilson_interval(cell["alarms"], options.draws)
        cell["shown"], cell["shown_from_outside"] = shown, right
        print(cell, file=sys.stderr, flush=True)
        found.append(cell)
    return found


def alarms(work: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Whole monitors on files, with the accuracy they expect and the one that labels show."""
    mixed = shuffled(sms(), options.seed)
    spam = trained(work, "sms_spam", mixed[:2_000], mixed[2_000:3_000], options.seed)
    run, inside, outside = clinc(work, options.seed)
    fresh = inside[REFERENCE:]
    cases = [
        ("sms_spam", spam, "other rows of sms_spam", mixed[3_000:3_500]),
        ("sms_spam", spam, "youtube_spam", shuffled(youtube(), options.seed)[:500]),
        ("clinc150", run, "other rows of clinc150", fresh[:500]),
        ("clinc150", run, "clinc150, 20 % outside its classes", [*fresh[:400], *outside[:100]]),
    ]
    found = []
    for trained_on, model, name, rows in cases:
        file = write(work / f"{name.replace(' ', '-')}.csv", rows)
        said = monitor(model.path, file, alpha=ALPHA)
        texts = [text for text, _ in rows]
        right = [p["label"] == label for p, (_, label) in zip(model.predict(texts), rows, strict=True)]
        quality = said["quality"] or {}
        found.append(
            {
                "model": trained_on,
                "rows": name,
                "n": len(rows),
                "answer": said["answer"],
                "alarms": [test["of"] for test in said["tests"] if test["alarm"]],
                "looking_new": said["new"] and said["new"]["count"],
                "expected_accuracy": {key: quality.get(key) for key in ("value", "low", "high")},
                "true_accuracy": sum(right) / len(right),
                "test_accuracy": quality.get("before"),
            }
        )
        print(found[-1], file=sys.stderr, flush=True)
    return found


def shown(result: dict[str, Any]) -> str:
    lines = []
    for name in ("silence-banking77", "silence-clinc150"):
        if name in result:
            one = result[name]
            lines.append(
                f"{name}: {one['false_alarms']} of {one['halves']} halves of {one['rows']} rows alarmed "
                f"(95 % interval {one['low']:.1%} to {one['high']:.1%}; stated {ALPHA:.0%} at most)"
            )
    cells = [cell for size in SIZES for cell in result.get(f"power-{size}", [])]
    if cells:
        head = ["new rows", "share outside", "alarms", "95 % interval", "shown rows from outside"]
        lines.append(table(head, [_cell(cell) for cell in cells]))
    if "alarms" in result:
        head = ["model of", "new rows", "n", "answer", "tests that alarm", "accuracy expected", "true"]
        lines.append(table(head, [_case(case) for case in result["alarms"]]))
    return "\n\n".join(lines)


def _cell(cell: dict[str, Any]) -> list[str]:
    alarms, span = f"{cell['alarms']} of {cell['draws']}", f"{cell['low']:.0%} to {cell['high']:.0%}"
    return [str(cell["n"]), f"{cell['share']:.0%}", alarms, span, f"{cell['shown_from_outside']} of {cell['shown']}"]


def _case(case: dict[str, Any]) -> list[str]:
    accuracy = (_expected(case["expected_accuracy"]), f"{case['true_accuracy']:.1%}")
    return [case["model"], case["rows"], str(case["n"]), case["answer"], ", ".join(case["alarms"]), *accuracy]


def _expected(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "–"
    return f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[Path, argparse.Namespace], Any]] = {
        "alarms": alarms,
        "silence-banking77": lambda work, options: silence(banking, work, options),
        "silence-clinc150": lambda work, options: silence(clinc, work, options),
        **{f"power-{size}": functools.partial(power, size) for size in SIZES},
    }
    parser.add_argument("--only", choices=parts, help="measure this part alone")
    parser.add_argument("--draws", type=int, default=20, help="of the power table's cells (20)")
    parser.add_argument("--halves", type=int, default=200, help="random halves (200)")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--work", type=Path, help="folder that keeps the trained models (a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(exist_ok=True)
        file = RESULTS / "monitor.json"
        for name in [options.only] if options.only else parts:
            found = parts[name](work, options)
            result = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            result |= {"seed": options.seed, "alpha": ALPHA, "environment": describe_environment(), name: found}
            file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(shown(result))


if __name__ == "__main__":
    main()
