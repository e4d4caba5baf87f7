"""Does the monitor keep silent when nothing has changed, and how small a change does it see?

python benchmarks/monitor.py --work DIR [--draws 20] [--halves 200] [--only PART]

The vectors are those of MiniLM; the model is the class means of its training vectors with a softmax over 20 times the
cosine, which is where burnish's heads start: no training is needed, and it is about as good as a trained head.

- silence: halves of 500 random test rows of banking77 and clinc150, one as the reference and one as the new rows;
- power: 1,000 reference rows of clinc150 against n new ones, a share of them requests outside its 150 classes;
- alarms: a model of sms_spam on other messages and on comments of youtube_spam; a model of clinc150 on other requests
  and with 20 % from outside; with the accuracy that is expected without labels, and the true one.

Vectors are kept in DIR. Each part writes what it has measured into results/monitor.json when it is done.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, ROOT, table

from burnish.evaluation.metrics.resampling import wilson_interval
from burnish.lifecycle.environment import describe_environment
from burnish.monitoring.drift import CONFIDENCE, LENGTH, PREDICTION, Sample, compare, newness
from burnish.monitoring.quality import estimated_accuracy

DATA = ROOT.parent / "shared" / "data"
ALPHA, SCALE = 0.01, 20.0
HALF, REFERENCE = 250, 1_000
SHARES, SIZES = (0.05, 0.1, 0.2, 0.5), (50, 200, 500, 1_000)
OUTSIDE = "oos"  # label of clinc150's requests that belong to no class

Rows = list[tuple[str, str]]
Array = np.ndarray[Any, Any]


def rows_of(path: Path, text: str, label: str) -> Rows:
    with path.open(encoding="utf-8", newline="") as stream:
        return [(line[text], line[label]) for line in csv.DictReader(stream)]


def clinc(part: str) -> Rows:
    return rows_of(DATA / "clinc150" / f"{part}.csv", "text", "intent")


def banking(part: str) -> Rows:
    return rows_of(DATA / "banking77" / f"{part}.csv", "text", "category")


def sms() -> Rows:
    lines = (DATA / "sms_spam" / "SMSSpamCollection.tsv").read_text(encoding="utf-8").split("\n")
    return [(text, "1" if label == "spam" else "0") for label, text in (line.split("\t", 1) for line in lines if line)]


def youtube() -> Rows:
    files = sorted((DATA / "youtube_spam").glob("*.csv"))
    return shuffled([row for path in files for row in rows_of(path, "text", "label")])[:500]


def shuffled(rows: Rows) -> Rows:
    mixed = list(rows)
    random.Random(0).shuffle(mixed)
    return mixed


SETS: dict[str, Callable[[], Rows]] = {
    "clinc150-train": lambda: [row for row in shuffled(clinc("train")) if row[1] != OUTSIDE][:4_500],
    "clinc150-test": lambda: clinc("test"),
    "banking77-train": lambda: shuffled(banking("train"))[:3_000],
    "banking77-test": lambda: banking("test"),
    "sms_spam": sms,
    "youtube_spam": youtube,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows with their vectors, (N, D) float32."""

    rows: Rows
    vectors: Array

    def part(self, places: Sequence[int]) -> Seen:
        return Seen([self.rows[i] for i in places], self.vectors[np.asarray(places)])

    @property
    def labels(self) -> Array:
        return np.array([label for _, label in self.rows])


def seen(name: str, work: Path) -> Seen:
    """A set of rows; its vectors are made once."""
    rows, file = SETS[name](), work / f"{name}.npy"
    if not file.is_file():
        from burnish.lifecycle.embed import embedder
        from burnish.model.find import find_base
        from burnish.model.options import ModelOptions
        from burnish.types import Silent

        base = find_base(ModelOptions(base="minilm"), recipe_folder=Path(), runs=work)
        np.save(file, embedder(base, progress=Silent())([text for text, _ in rows]).astype(np.float16))
    return Seen(rows, np.load(file).astype(np.float32))


class Means:
    """A classifier by the means of its classes."""

    def __init__(self, train: Seen) -> None:
        self.classes = np.unique(train.labels)
        means = np.stack([train.vectors[train.labels == name].mean(axis=0) for name in self.classes])
        self.means = means / np.linalg.norm(means, axis=1, keepdims=True)

    def sample(self, rows: Seen) -> Sample:
        """What the monitor sees of rows without labels."""
        logits = SCALE * rows.vectors @ self.means.T
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        length = np.array([len(text) for text, _ in rows.rows], np.float64)
        said: list[str] = self.classes[logits.argmax(axis=1)].tolist()
        return Sample(rows.vectors, {LENGTH: length, CONFIDENCE: probabilities.max(axis=1)}, {PREDICTION: said})


def part_of(sample: Sample, places: Sequence[int]) -> Sample:
    chosen = np.asarray(places)
    assert sample.vectors is not None
    numbers = {name: values[chosen] for name, values in sample.numbers.items()}
    return Sample(sample.vectors[chosen], numbers, {k: [v[i] for i in places] for k, v in sample.kinds.items()})


def alarming(reference: Sample, new: Sample, seed: int) -> list[str]:
    return [test.of for test in compare(reference, new, alpha=ALPHA, seed=seed) if test.adjusted <= ALPHA]


def silence(name: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """How often halves of the same rows alarm."""
    test = seen(f"{name}-test", work)
    inside = test.part(np.flatnonzero(test.labels != OUTSIDE).tolist())
    sample = Means(seen(f"{name}-train", work)).sample(inside)
    by_test: dict[str, int] = {}
    false = 0
    for draw in range(options.halves):
        places = random.Random(options.seed + draw).sample(range(len(sample)), 2 * HALF)
        found = alarming(part_of(sample, places[:HALF]), part_of(sample, places[HALF:]), draw)
        false += bool(found)
        for one in found:
            by_test[one] = by_test.get(one, 0) + 1
    low, high = wilson_interval(false, options.halves)
    told = {"halves": options.halves, "rows": HALF, "false_alarms": false, "low": low, "high": high}
    return {**told, "by_test": by_test}


def power(size: int, work: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """How often a share of rows from outside alarms, and how many of the ten rows that look newest are from there."""
    test = seen("clinc150-test", work)
    sample = Means(seen("clinc150-train", work)).sample(test)
    inside, outside = (np.flatnonzero((test.labels == OUTSIDE) == out).tolist() for out in (False, True))
    cells = []
    for share in SHARES:
        alarms, by_test, right, shown_rows = 0, dict[str, int](), 0, 0
        for draw in range(options.draws):
            chance = random.Random(1_000 * options.seed + draw)
            others = chance.sample(outside, round(share * size))
            known = chance.sample(inside, REFERENCE + size - len(others))
            new = [*known[REFERENCE:], *others]
            reference, fresh = part_of(sample, known[:REFERENCE]), part_of(sample, new)
            found = alarming(reference, fresh, draw)
            alarms += bool(found)
            for one in found:
                by_test[one] = by_test.get(one, 0) + 1
            first = newness(reference, fresh).first(10)
            right += sum(test.labels[new[place]] == OUTSIDE for place in first)
            shown_rows += len(first)
        low, high = wilson_interval(alarms, options.draws)
        told = {"n": size, "share": share, "draws": options.draws, "alarms": alarms, "low": low, "high": high}
        cells.append({**told, "by_test": by_test, "shown": shown_rows, "shown_from_outside": int(right)})
        print(cells[-1], file=sys.stderr, flush=True)
    return cells


def alarms(work: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Whole samples against each other, with the accuracy that is expected and the one that labels show."""
    messages, test = seen("sms_spam", work), seen("clinc150-test", work)
    chance = random.Random(options.seed)
    mixed = chance.sample(range(len(messages.rows)), 3_500)
    inside, outside = (np.flatnonzero((test.labels == OUTSIDE) == out).tolist() for out in (False, True))
    known, strange = chance.sample(inside, REFERENCE + 500), chance.sample(outside, 100)
    spam, intents = Means(messages.part(mixed[:2_000])), Means(seen("clinc150-train", work))
    old, requests = messages.part(mixed[2_000:3_000]), test.part(known[:REFERENCE])
    cases = [
        ("sms_spam", spam, old, "other messages", messages.part(mixed[3_000:])),
        ("sms_spam", spam, old, "youtube_spam", seen("youtube_spam", work)),
        ("clinc150", intents, requests, "other requests", test.part(known[REFERENCE:])),
        ("clinc150", intents, requests, "20 % from outside", test.part([*known[REFERENCE:-100], *strange])),
    ]
    found = []
    for name, model, reference, what, new in cases:
        before, after = model.sample(reference), model.sample(new)
        right = np.array(before.kinds[PREDICTION]) == reference.labels
        expected = estimated_accuracy(before.numbers[CONFIDENCE], right, after.numbers[CONFIDENCE], seed=options.seed)
        told = {"model": name, "rows": what, "n": len(after), "alarms": alarming(before, after, options.seed)}
        told |= {"test_accuracy": expected.before, "expected": expected.value, "low": expected.low}
        told |= {"high": expected.high, "looking_new": newness(before, after).looking_new}
        found.append({**told, "accuracy": float((np.array(after.kinds[PREDICTION]) == new.labels).mean())})
    return found


PARTS: dict[str, Callable[[Path, argparse.Namespace], Any]] = {
    "alarms": alarms,
    "silence-banking77": functools.partial(silence, "banking77"),
    "silence-clinc150": functools.partial(silence, "clinc150"),
    **{f"power-{size}": functools.partial(power, size) for size in SIZES},
}


def shown(result: dict[str, Any]) -> str:
    lines = []
    for name in ("silence-banking77", "silence-clinc150"):
        if one := result.get(name):
            span = f"{one['low']:.1%} to {one['high']:.1%}"
            lines.append(f"{name}: {one['false_alarms']} of {one['halves']} alarmed (95 % interval {span})")
    cells = [cell for size in SIZES for cell in result.get(f"power-{size}", [])]
    if cells:
        head = ["new rows", "share outside", "alarms", "95 % interval", "shown rows from outside"]
        lines.append(table(head, [_cell(cell) for cell in cells]))
    if "alarms" in result:
        head = ["model of", "new rows", "n", "tests that alarm", "look new", "accuracy expected", "true"]
        lines.append(table(head, [_case(case) for case in result["alarms"]]))
    return "\n\n".join(lines)


def _cell(cell: dict[str, Any]) -> list[str]:
    found, span = f"{cell['alarms']} of {cell['draws']}", f"{cell['low']:.0%} to {cell['high']:.0%}"
    return [str(cell["n"]), f"{cell['share']:.0%}", found, span, f"{cell['shown_from_outside']} of {cell['shown']}"]


def _case(case: dict[str, Any]) -> list[str]:
    expected = f"{case['expected']:.1%} ({case['low']:.1%} to {case['high']:.1%})"
    told = [case["model"], case["rows"], str(case["n"]), ", ".join(case["alarms"]) or "none"]
    return [*told, str(case["looking_new"]), expected, f"{case['accuracy']:.1%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps the vectors")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part; may be repeated")
    parser.add_argument("--draws", type=int, default=20, help="of the power table's cells (20)")
    parser.add_argument("--halves", type=int, default=200, help="random halves (200)")
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    options.work.mkdir(exist_ok=True)
    file = RESULTS / "monitor.json"
    for name in options.only or PARTS:
        found = PARTS[name](options.work, options)
        result = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        result |= {"seed": options.seed, "alpha": ALPHA, "environment": describe_environment(), name: found}
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(shown(result), flush=True)


if __name__ == "__main__":
    main()
