"""Does `burnish check` find planted faults, does it stay silent on clean data, and how fast is it?

    python benchmarks/doctor.py planted --seed 13     repeats and personal data in three real sets, and a clean control
    python benchmarks/doctor.py labels --seed 13      flipped labels in banking77 (needs the extras demo and audit)
    python benchmarks/doctor.py speed                 10 k, 100 k and 1 M made-up sentences

What was planted never leaves this process: the rows are shuffled into a CSV and `burnish check --json` is run on it.
Prints tables and writes benchmarks/results/doctor-<part>.json with machine, versions, seed and n. Needs the public
data sets in ../shared/data, but for `speed`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import resource
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results"
PLANTED = 200  # faults of each kind
FLIPPED = 0.10  # of the labels
SIZES = (10_000, 100_000, 1_000_000)
REPEATED = ("exact", "near")
REPEATS = ("data/conflicting-label", "data/near-duplicate")
Rows = list[tuple[str, str]]


def rows_of(name: str) -> Rows:
    """(text, label) of a real set."""
    if name == "sms_spam":
        lines = (DATA / "sms_spam" / "SMSSpamCollection.tsv").read_text(encoding="utf-8").splitlines()
        return [(text, label) for label, text in (line.split("\t", 1) for line in lines)]
    file, label = {"banking77": ("train.csv", "category"), "clinc150": ("train_imbalanced.csv", "intent")}[name]
    with (DATA / name / file).open(encoding="utf-8", newline="") as stream:
        return [(row["text"], row[label]) for row in csv.DictReader(stream)]


def check(rows: Rows, folder: Path, *options: str) -> dict[str, set[int]]:
    """Code of each finding -> the indexes of its rows, as `burnish check` says."""
    path = folder / "rows.csv"
    first_line, line = {}, 2
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("text", "label"))
        for index, row in enumerate(rows):
            writer.writerow(row)
            first_line[line] = index
            line += 1 + row[0].count("\n")
    command = [sys.executable, "-m", "burnish", "check", str(path), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout)["findings"]
    return {f["code"]: {first_line[int(place.rsplit(":", 1)[1])] for place in f["places"]} for f in found}


def misspelt(text: str, chooser: random.Random) -> str:
    """One letter more, one less or another one, as a hand slips."""
    place = chooser.randrange(len(text))
    letter = chooser.choice(string.ascii_lowercase)
    return chooser.choice((text[:place] + letter + text[place:], text[:place] + letter + text[place + 1 :]))


def grams(text: str) -> set[str]:
    text = " ".join(text.casefold().split())
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def with_check_digits(kind: str, chooser: random.Random) -> str:
    """A card number or an IBAN whose checksum is right; computed here, on its own."""
    if kind == "card":
        digits = [4, *(chooser.randrange(10) for _ in range(14))]
        total = sum(sum(divmod(2 * d, 10)) if i % 2 == 0 else d for i, d in enumerate(digits))
        number = "".join(map(str, [*digits, -total % 10]))
        gap = chooser.choice(("", " ", "-"))
        return gap.join(number[i : i + 4] for i in range(0, 16, 4))
    account = "".join(chooser.choices(string.digits, k=18))
    iban = f"DE{98 - int(account + '131400') % 97:02}{account}"
    return chooser.choice((iban, " ".join(iban[i : i + 4] for i in range(0, 22, 4))))


Marked = tuple[str, str, str, int]  # text, label, kind of fault ("" for none), index of the row it was made from


def plant(rows: Rows, chooser: random.Random) -> list[Marked]:
    """The rows with copies, misspelt copies, card numbers and IBANs among them, shuffled."""
    taken = chooser.sample([i for i, (text, _) in enumerate(rows) if len(text) >= 60], 4 * PLANTED)
    marked: list[Marked] = [(text, label, "", i) for i, (text, label) in enumerate(rows)]
    marked += [(*rows[index], "exact", index) for index in taken[:PLANTED]]
    for index in taken[PLANTED : 2 * PLANTED]:
        text = misspelt(rows[index][0], chooser)
        if len(grams(text) & grams(rows[index][0])) >= 0.8 * len(grams(text) | grams(rows[index][0])):
            marked.append((text, rows[index][1], "near", index))
    for kind, part in (("card", taken[2 * PLANTED : 3 * PLANTED]), ("iban", taken[3 * PLANTED :])):
        for index in part:
            text, label = rows[index]
            marked[index] = (f"{text} {with_check_digits(kind, chooser)}", label, kind, index)
    chooser.shuffle(marked)
    return marked


def planted(seed: int) -> list[dict[str, Any]]:
    """How many of the planted repeats and personal data were found, and what was found on a clean control."""
    results: list[dict[str, Any]] = []
    for name in ("banking77", "clinc150", "sms_spam"):
        marked = plant(rows_of(name), random.Random(seed))
        with tempfile.TemporaryDirectory() as folder:
            found = check([(text, label) for text, label, _, _ in marked], Path(folder))
        place_of = {original: place for place, (*_, kind, original) in enumerate(marked) if kind not in REPEATED}
        repeats = set().union(*(found.get(code, set()) for code in ("data/duplicate", *REPEATS)))
        result: dict[str, Any] = {"set": name, "rows": len(marked)}
        for kind in REPEATED:
            pairs = [(place, place_of[original]) for place, (*_, k, original) in enumerate(marked) if k == kind]
            result[kind] = {"planted": len(pairs), "found": sum(bool(repeats & set(pair)) for pair in pairs)}
        for kind in ("card", "iban"):
            places = {place for place, (*_, k, _) in enumerate(marked) if k == kind}
            hits = places & found.get("data/personal", set())
            result[kind] = {"planted": len(places), "found": len(hits)}
        results.append(result)
    chooser = random.Random(seed)
    control = [(text, chooser.choice("abc")) for text in sentences(5_000, seed)]
    with tempfile.TemporaryDirectory() as folder:
        found = check(control, Path(folder))
    results.append({"set": "clean control", "rows": len(control), "findings": {k: len(v) for k, v in found.items()}})
    return results


def sentences(count: int, seed: int) -> list[str]:
    """Distinct sentences of made-up words, 100 characters on average."""
    chooser = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]
    words = ["".join(chooser.choices(syllables, k=chooser.randint(2, 4))) for _ in range(20_000)]
    return [" ".join(chooser.choices(words, k=14)) for _ in range(count)]


def labels(seed: int) -> list[dict[str, Any]]:
    """Recall and precision on labels flipped at random, and to the class whose mean vector is nearest."""
    rows = rows_of("banking77")
    names = sorted({label for _, label in rows})
    other = {"uniform": None, "nearest": nearest_classes(rows, names)}
    results = []
    for kind, neighbour in other.items():
        chooser = random.Random(seed)
        flipped = set(chooser.sample(range(len(rows)), round(FLIPPED * len(rows))))
        noisy = [
            (text, label)
            if index not in flipped
            else (text, neighbour[label] if neighbour else chooser.choice([n for n in names if n != label]))
            for index, (text, label) in enumerate(rows)
        ]
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            suspects = check(noisy, Path(folder), "--deep").get("data/wrong-label", set())
        hits = len(suspects & flipped)
        results.append(
            {
                "flips": kind,
                "rows": len(rows),
                "flipped": len(flipped),
                "suspected": len(suspects),
                "recall": hits / len(flipped),
                "precision": hits / max(1, len(suspects)),
                "seconds": round(time.monotonic() - started, 1),
            }
        )
    return results


def nearest_classes(rows: Rows, names: Sequence[str]) -> dict[str, str]:
    import numpy as np

    sys.path.insert(0, str(ROOT))
    from burnish.lifecycle.embed import embedder
    from burnish.model.find import find_base
    from burnish.model.options import ModelOptions
    from burnish.types import Silent

    base = find_base(ModelOptions(base="minilm"), recipe_folder=ROOT, runs=ROOT / "runs")
    vectors = embedder(base, progress=Silent())([text for text, _ in rows])
    targets = np.array([names.index(label) for _, label in rows])
    means = np.stack([vectors[targets == k].mean(axis=0) for k in range(len(names))])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosine = means @ means.T
    np.fill_diagonal(cosine, -1)
    return {name: names[int(cosine[k].argmax())] for k, name in enumerate(names)}


def speed(seed: int) -> list[dict[str, Any]]:
    """Seconds and peak memory of the whole command, in a process of its own."""
    results = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.csv"
            with path.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(("text", "label"))
                writer.writerows((text, f"class {index % 5}") for index, text in enumerate(sentences(size, seed)))
            command = [sys.executable, __file__, "one", str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append({"rows": size, "bytes": path.stat().st_size} | json.loads(done.stdout.splitlines()[-1]))
            print(results[-1], file=sys.stderr)
    return results


def one(path: Path) -> None:
    """The checks that need no model on one file, and what reading, cleaning and splitting before them took."""
    sys.path.insert(0, str(ROOT))
    from burnish.data.doctor.examine import examine
    from burnish.data.doctor.finding import Subject
    from burnish.data.options import DataOptions
    from burnish.data.prepare import prepare
    from burnish.types import Silent

    started, cpu_started = time.monotonic(), time.process_time()
    data = prepare(DataOptions(train=path.name), {"text": str, "label": str}, base_folder=path.parent, seed=13)
    read, cpu_read = time.monotonic(), time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    subject = Subject.of([example for examples in data.splits.values() for example in examples])
    found = examine(subject, groups={}, limit=None, base_parameters=None, progress=Silent())
    figures = {
        "prepare_seconds": round(read - started, 2),
        "prepare_cpu_seconds": round(cpu_read - cpu_started, 2),
        "doctor_seconds": round(time.monotonic() - read, 2),
        "doctor_cpu_seconds": round(time.process_time() - cpu_read, 2),
        "prepare_peak_mb": before // 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "findings": {finding.code: finding.count for finding in found},
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("planted", "labels", "speed", "one"))
    parser.add_argument("path", nargs="?", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    if options.part == "one":
        one(options.path)
        return
    rows = {"planted": planted, "labels": labels, "speed": speed}[options.part](options.seed)
    for row in rows:
        print(json.dumps(row))
    machine = {"platform": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count()}
    RESULTS.mkdir(exist_ok=True)
    record = {"part": options.part, "seed": options.seed, "machine": machine, "rows": rows}
    (RESULTS / f"doctor-{options.part}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
