"""What benchmarks/export.py exports: a small run on real rows for each task that has a form."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import seq2seq
from measuring import ROOT

DATA = ROOT.parent / "shared" / "data"
STORIES = ROOT.parent / "shared" / "models" / "stories260k"
MOBILENET = ROOT.parent / "shared" / "models" / "mobilenetv1-025-96-vww"
NAMES = ("Tom", "Lily", "Sam", "Anna", "Ben", "Mia")
ROWS = 600

Forms = tuple[tuple[str, str | None], ...]  # with their eight bits
Case = tuple[Path, list[str], Forms]  # data, overrides, forms

_READ: Forms = (("merged", None), ("adapter", None), ("onnx", None), ("onnx", "int8"))
_WRITTEN: Forms = (
    *(("merged", None), ("adapter", None), ("gguf", None), ("gguf", "q8_0"), ("ollama", None), ("vllm", None)),
)
_OF_MINILM = ["model.base=minilm", "method=lora", "training.max_steps=40"]
_OF_STORIES = [f"model.base={STORIES}", "model.chat_template=plain", "method=lora", "training.learning_rate=5e-3"]
_WORDS = ("red ball and", "boat with", "little girl named", "cat near", "tree for", "park with", "toy of", "friend of")


def texts(folder: Path) -> Case:
    rows = _rows("banking77/train.csv")
    chosen = {label for label, _ in Counter(row["category"] for row in rows).most_common(10)}
    return (
        _lines(folder, [row for row in rows if row["category"] in chosen]),
        ["model.base=minilm", "method=head", "data.columns={text: text, label: category}"],
        (("merged", None), ("onnx", None), ("onnx", "int8")),
    )


def domains(folder: Path) -> Case:
    """Hierarchical labels: the domain and the intent of four domains."""
    known = json.loads((DATA / "clinc150" / "domains.json").read_text(encoding="utf-8"))
    domain = {intent: name for name, intents in list(known.items())[:4] for intent in intents[:4]}
    labelled = (row for row in _rows("clinc150/train.csv") if row["intent"] in domain)
    rows = [{"text": row["text"], "label": f"{domain[row['intent']]}/{row['intent']}"} for row in labelled]
    return _lines(folder, rows), ["task=hierarchical-classification", *_OF_MINILM], _READ


def keywords(folder: Path) -> Case:
    """Several labels each: which of the commonest keywords a caption has."""
    rows = [(row["caption"], row["keywords"].split(" | ")) for row in _rows("emoji_captions/captions.csv")]
    common = {word for word, _ in Counter(word for _, words in rows for word in set(words)).most_common(6)}
    found = [{"text": text, "labels": sorted(common & set(words))} for text, words in rows if text.strip()]
    return _lines(folder, found[:2_000]), ["task=multi-label-classification", *_OF_MINILM], _READ


def numbers(folder: Path) -> Case:
    """A number for a text: how many lines the solution of a problem has."""
    rows = list(map(json.loads, islice((DATA / "gsm8k" / "train.jsonl").open(encoding="utf-8"), ROWS)))
    found = [{"text": row["question"], "score": float(row["answer"].count("\n"))} for row in rows]
    return _lines(folder, found), ["task=text-regression", *_OF_MINILM], _READ


def likeness(folder: Path) -> Case:
    """A number for two texts."""
    return _lines(folder, _scored()), ["task=text-pair-regression", *_OF_MINILM], _READ


def alike(folder: Path) -> Case:
    """A label for two texts: whether people call them alike."""
    named = [{**row, "label": "alike" if float(row["score"]) >= 3 else "other"} for row in _scored()]
    for row in named:
        del row["score"]
    return _lines(folder, named), ["task=text-pair-classification", *_OF_MINILM], _READ


def tokens(folder: Path) -> Case:
    return DATA / "wnut17" / "train.conll", [*_OF_MINILM[:2], "training.max_steps=200"], _READ


def answers(folder: Path) -> Case:
    """Where the answer to a question stands: the name of the place that a sentence is about."""
    rows = []
    for row in _rows("e2e_nlg/train.csv")[: 20 * ROWS : 10]:
        named = re.search(r"name\[([^]]+)\]", row["mr"])
        if named and named[1] in row["ref"]:
            rows.append({"question": "Which place is it about?", "context": row["ref"], "answer": named[1]})
    return _lines(folder, rows[:ROWS]), ["task=question-answering", *_OF_MINILM], _READ


def pairs(folder: Path) -> Case:
    overrides = ["model.base=minilm", "method=lora", "task=embedding", "training.max_steps=4"]
    return _lines(folder, _scored()[:300]), overrides, (("merged", None), ("onnx", None), ("onnx", "int8"))


def images(folder: Path) -> Case:
    with zipfile.ZipFile(DATA / "fashion_mnist_900" / "fashion_mnist_900.zip") as archive:
        archive.extractall(folder / "clothes")
    return folder / "clothes", [f"model.base={MOBILENET}", "method=head"], (("merged", None), ("onnx", None))


def sources(folder: Path) -> Case:
    """A text for a text, from random weights: a sentence about a place."""
    file = DATA / "e2e_nlg" / "train.csv"
    base = seq2seq.make_base(folder / "base", seq2seq.texts_of(file, ("mr", "ref"))[:4_000], 2_000)
    rows = [{"source": row["mr"], "target": row["ref"]} for row in _rows("e2e_nlg/train.csv")[: 3 * ROWS]]
    overrides = [f"model.base={base}", "model.initialization=random", "method=full", "training.max_steps=120"]
    return _lines(folder, rows), overrides, (("merged", None),)


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


def preferences(folder: Path) -> Case:
    lines = (DATA / "pandalm_preferences" / "preferences.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if len(json.dumps(row)) < 900]
    forms = tuple((form, bits) for form, bits in _WRITTEN if bits is None)
    overrides = [*_OF_STORIES, "task=preference", "training.max_steps=4", "data.max_bad_ratio=0.5"]
    return _lines(folder, rows[:200]), overrides, forms


def tables(folder: Path) -> Case:
    return DATA / "german_credit" / "german.csv", ["training.max_steps=60"], (("onnx", None), ("onnx", "int8"))


CASES: dict[str, Callable[[Path], Case]] = {
    each.__name__: each
    for each in (
        *(texts, domains, keywords, numbers, likeness, alike, tokens, answers),
        *(pairs, images, sources, chat, stories, preferences, tables),
    )
}


def _scored() -> list[dict[str, str]]:
    return _rows("stsb_captions/train.csv")[:ROWS]


def _rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "rows.jsonl"
