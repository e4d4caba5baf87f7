"""What does a small encoder with a decoder learn from scratch: English into Spanish, and data into sentences?

    python benchmarks/seq2seq.py [tatoeba|e2e]

A T5 of a few million weights, drawn and not pretrained, with a vocabulary of pieces made from the training rows. It is
trained with `task: seq2seq` and judged as any run is: against copying the source, the most frequent target and the
target of the most similar training source.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from measuring import RESULTS, ROOT, table

import burnish

DATA = ROOT.parent / "shared" / "data"
SETS: dict[str, dict[str, Any]] = {
    "tatoeba": {
        "folder": "tatoeba_en_es",
        "files": {"train": "train.tsv", "validation": "validation.tsv", "test": "test.tsv"},
        "columns": ("en", "es"),
        "vocabulary": 2_000,
        "epochs": 25,
    },
    "e2e": {
        "folder": "e2e_nlg",
        "files": {"train": "train.csv", "test": "test.csv"},
        "columns": ("mr", "ref"),
        "vocabulary": 1_000,
        "epochs": 16,
    },
}
RECIPE = (
    "training.learning_rate=1.2e-3",
    "training.warmup_ratio=0.04",
    "training.dropout=0",
    "training.threads=1",
)
SHAPE = {"d_model": 160, "d_kv": 40, "d_ff": 512, "num_layers": 2, "num_heads": 4, "initializer_factor": 0.25}
MARKS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}


def make_base(folder: Path, texts: Iterable[str], vocabulary: int) -> Path:
    """A folder with the configuration of a small T5 and a tokenizer of the pieces that the texts consist of."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import T5Config

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about | {"unk_token": "<unk>"}), encoding="utf-8")
    T5Config(vocab_size=tokenizer.get_vocab_size(), **SHAPE, **MARKS).save_pretrained(folder)
    return folder


def texts_of(path: Path, columns: tuple[str, str]) -> list[str]:
    """Sources and targets of a file."""
    with path.open(encoding="utf-8", newline="") as stream:
        if path.suffix == ".tsv":
            rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            rows = csv.DictReader(stream)
        return [row[column] for row in rows for column in columns]


def measure(name: str, work: Path, settings: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Trains on one set and gives what its evaluation.json says."""
    chosen = SETS[name]
    files = {part: DATA / chosen["folder"] / file for part, file in chosen["files"].items()}
    base = make_base(work / "base", texts_of(files["train"], chosen["columns"]), chosen["vocabulary"])
    overrides = [f"model.base={base}", "model.initialization=random", "evaluation.max_prompts=1000"]
    settings = (f"training.epochs={chosen['epochs']}", *RECIPE, *settings)
    overrides += [f"data.{part}={path}" for part, path in files.items() if part != "train"]
    started = time.monotonic()
    run = burnish.train(files["train"], overrides=[*overrides, *settings], seed=seed, output=work / "run")
    evaluation, manifest = run.evaluation, run.folder.manifest()
    return {
        "seed": seed,
        "n": evaluation["n"],
        "references": evaluation["diagnostics"]["references"],
        "models": evaluation["models"],
        "verdict": evaluation["verdict"],
        "arms": {arm: about["difference"] for arm, about in evaluation["arms"].items()},
        "stopped_by_itself": evaluation["diagnostics"]["stopped_by_itself"],
        "parameters": manifest["training"]["total_parameters"],
        "steps": manifest["training"]["steps"],
        "best_step": manifest["training"]["best_step"],
        "training_seconds": manifest["training"]["training_seconds"],
        "seconds": round(time.monotonic() - started, 1),
        "environment": manifest["environment"],
        "shape": SHAPE | {"vocabulary": chosen["vocabulary"]},
        "settings": settings,
    }


def shown(result: dict[str, Any]) -> str:
    """One line for each model, with 95 % intervals in points."""
    metrics = list(result["models"]["tuned"])
    rows = []
    for model, values in result["models"].items():
        rows.append([model, *(in_points(values[metric]) for metric in metrics)])
    return table(["model", *metrics], rows)


def in_points(value: dict[str, float]) -> str:
    return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * value[name] for name in ("value", "low", "high")))


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("sets", nargs="*", default=["tatoeba"], choices=list(SETS))
    about.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the recipe")
    about.add_argument("--seed", type=int, default=13)
    about.add_argument("--keep", type=Path, help="folder for base and run instead of a temporary one")
    options = about.parse_args()
    path = RESULTS / "seq2seq.json"
    for name in options.sets:
        with tempfile.TemporaryDirectory() as temporary:
            work = (options.keep or Path(temporary)) / name
            result = measure(name, work, tuple(options.set), options.seed)
        print(f"{name}: {result['parameters']:,} weights, {result['training_seconds']:.0f} s of training")
        print(shown(result))
        print(result["verdict"])
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        path.write_text(json.dumps(known | {name: result}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
