"""Does each form answer as the trained model does, how large is it, and how long does a row take?

    python benchmarks/export.py                     # or: --only texts

Small real runs: texts (MiniLM with a solved head, ten intents of banking77), pairs (MiniLM as a sentence encoder, a few
steps on captions), images (MobileNet, clothes), chat (260 thousand weights, a made-up question), stories (the same, of
plain texts) and a table. Every form that exists for each is exported on at most 100 test rows, 2,000 where weights go
into eight bits. Prints a table and writes benchmarks/results/export.json; a case that is measured alone takes the place
of its own lines there. Needs the extras demo, onnx and gguf, and the public data sets in ../shared.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from measuring import RESULTS, ROOT, table

import burnish
from burnish.lifecycle.environment import describe_environment
from burnish.serving.table_package import use

SHARED = ROOT.parent / "shared"
STORIES = SHARED / "models" / "stories260k"
MOBILENET = SHARED / "models" / "mobilenetv1-025-96-vww"
SEED, THREADS = 13, 1
NAMES = ("Tom", "Lily", "Sam", "Anna", "Ben", "Mia")

Case = tuple[Path, list[str], tuple[tuple[str, str | None], ...]]  # data, overrides, forms with their eight bits


def texts(folder: Path) -> Case:
    with (SHARED / "data" / "banking77" / "train.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    chosen = {label for label, _ in Counter(row["category"] for row in rows).most_common(10)}
    return (
        _csv(folder, [row for row in rows if row["category"] in chosen]),
        ["model.base=minilm", "method=head", "data.columns={text: text, label: category}"],
        (("merged", None), ("onnx", None), ("onnx", "int8")),
    )


def pairs(folder: Path) -> Case:
    with (SHARED / "data" / "stsb_captions" / "train.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(islice(csv.DictReader(stream), 300))
    overrides = ["model.base=minilm", "method=lora", "task=embedding", "training.max_steps=4"]
    return _csv(folder, rows), overrides, (("merged", None), ("onnx", None), ("onnx", "int8"))


def images(folder: Path) -> Case:
    with zipfile.ZipFile(SHARED / "data" / "fashion_mnist_900" / "fashion_mnist_900.zip") as archive:
        archive.extractall(folder / "clothes")
    return folder / "clothes", [f"model.base={MOBILENET}", "method=head"], (("merged", None), ("onnx", None))


def chat(folder: Path) -> Case:
    rows = []
    for number in range(300):
        who, what = NAMES[number % 6], ("ball", "cat", "hat", "car", "dog")[number // 6 % 5]
        asked = f"{who} has a {what}. There are {number // 30} days. Who has the {what}?"
        rows.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": who}]})
    return _lines(folder, rows), [*_OF_STORIES, "training.max_steps=40"], _WRITTEN


def stories(folder: Path) -> Case:
    begun = ("Once upon a time, there was a", "Tom and Lily went to the", "The big dog saw a", "One day, Mom said to")
    rows = [{"text": f"{begin} {word} {name}."} for begin in begun for word in _WORDS for name in NAMES]
    forms = tuple((form, bits) for form, bits in _WRITTEN if bits is None)
    return _lines(folder, rows), [*_OF_STORIES, "training.max_steps=4"], forms


def tables(folder: Path) -> Case:
    return (
        SHARED / "data" / "german_credit" / "german.csv",
        ["training.max_steps=60"],
        (("onnx", None), ("onnx", "int8")),
    )


_WORDS = ("red ball and", "boat with", "little girl named", "cat near", "tree for", "park with", "toy of", "friend of")
_OF_STORIES = [f"model.base={STORIES}", "model.chat_template=plain", "method=lora", "training.learning_rate=5e-3"]
_WRITTEN: tuple[tuple[str, str | None], ...] = (
    *(("merged", None), ("adapter", None), ("gguf", None), ("gguf", "q8_0"), ("ollama", None), ("vllm", None)),
)
CASES: dict[str, Callable[[Path], Case]] = {
    each.__name__: each for each in (texts, pairs, images, chat, stories, tables)
}


def _csv(folder: Path, rows: list[dict[str, str]]) -> Path:
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder / "rows.csv"


def _lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "rows.jsonl"


def measured(name: str) -> list[dict[str, Any]]:
    """Every form of a case; one that is refused says why."""
    found = []
    with tempfile.TemporaryDirectory() as work:
        data, overrides, forms = CASES[name](Path(work))
        quick = [f"training.threads={THREADS}", "evaluation.resamples=1000", "evaluation.max_prompts=40"]
        run = burnish.train(data, overrides=[*overrides, *quick], seed=SEED, output=Path(work) / "run")
        if name == "tables":  # there the trees answer; what is measured is the transformer beside them
            use(run.folder.final, "transformer")
        for form, bits in forms:
            line: dict[str, Any] = {"case": name, "form": form, "quantize": bits}
            try:
                made = burnish.export(run.path, to=form, quantize=bits)
                kept = ("answer", "runtime", "agreement", "metric", "bytes", "seconds_per_row", "not_run")
                line |= {key: made[key] for key in kept}
            except burnish.BurnishError as error:
                line |= {"answer": "refused", "error": {"code": error.code, "message": error.message}}
            found.append(line)
    return found


def shown(line: dict[str, Any]) -> list[object]:
    name = line["form"] if line["quantize"] is None else f"{line['form']} {line['quantize']}"
    if line["answer"] == "refused":
        return [line["case"], name, "refused", line["error"]["message"], "", "", ""]
    agreed, metric, seconds = line["agreement"], line["metric"], line["seconds_per_row"]
    before_after = (
        "" if metric is None else f"{metric['name']} {_span(metric['before'])} → {metric['after']['value']:.3f}"
    )
    return [
        *(line["case"], name, line["answer"]),
        f"{agreed['largest_difference']:.1e} {agreed['unit']}, {agreed['equal_answers']} of {agreed['rows']} the same",
        *(
            before_after,
            f"{line['bytes'] / 1e6:.1f} MB",
            f"{seconds['trained'] * 1e3:.1f} → {seconds['exported'] * 1e3:.1f} ms",
        ),
    ]


def _span(value: dict[str, Any]) -> str:
    span = "" if value["low"] is None else f" ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value['value']:.3f}{span}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(CASES), action="append")
    chosen = parser.parse_args().only or list(CASES)
    path = RESULTS / "export.json"
    for name in chosen:
        lines = measured(name)
        known = json.loads(path.read_text(encoding="utf-8"))["lines"] if path.is_file() else []
        known = [line for line in known if line["case"] != name] + lines
        ordered = sorted(known, key=lambda line: list(CASES).index(line["case"]))
        load = os.getloadavg()[0]
        content = {"environment": {**describe_environment(), "load": load}, "seed": SEED, "threads": THREADS}
        path.write_text(json.dumps({**content, "lines": ordered}, indent=1) + "\n", encoding="utf-8")
    head = ("case", "form", "answer", "largest difference", "metric before → after", "size", "a row before → after")
    print(table(head, [shown(line) for line in ordered]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
