"""How close does the predicted memory come to what a run really needs, and the predicted time to what it takes?

    python benchmarks/fit.py [--only NAME ...] [--again]

Twenty configurations: text encoders from 4 to 23 million weights, language models and image models; full, lora, head,
freeze, adapter; short and long rows; small and large batches. Each is a whole run, from rows to verdict, in its
own process with an empty home, one thread, 2 steps. Measured is the largest resident size of that process at its end;
predicted is what the run noted before it loaded anything. Bases are random but for all-MiniLM-L6-v2, stories260k and
mobilenetv1-025-96-vww: memory does not depend on the values of weights. The measured numbers in model/fit.py come from
other configurations than these.

Prints a table and writes benchmarks/results/fit.json after every configuration; those that are there are not run again
unless asked. The time is predicted on a machine that has seen no training yet, so its range is wide.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from measuring import BANKING77, RESULTS, ROOT, Place, answer, parsed, parser, rows_of, run_arm, table

SHARED = ROOT.parent / "shared"
RESULT = RESULTS / "fit.json"
WITHIN = 0.15
SEED = 13

# name: base, data, method, further settings
CONFIGURATIONS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "bert 128x2, short, full": ("bert-128-2", "short", "full", ("training.global_batch_size=16",)),
    "bert 128x2, short, lora": ("bert-128-2", "short", "lora", ()),
    "bert 128x2, long, head": ("bert-128-2", "long", "head", ()),
    "bert 256x2, medium, full": ("bert-256-2", "medium", "full", ()),
    "bert 256x2, medium, adapter": ("bert-256-2", "medium", "adapter", ()),
    "bert 256x2, long, lora": ("bert-256-2", "long", "lora", ()),
    "bert 256x2, long, freeze": ("bert-256-2", "long", "freeze", ("method.layers=1",)),
    "bert 256x2, medium, 2,048 tokens": ("bert-256-2", "medium", "full", ("training.micro_batch_tokens=2048",)),
    "bert 384x4, short, full": ("bert-384-4", "short", "full", ()),
    "bert 384x4, medium, lora": ("bert-384-4", "medium", "lora", ("method.rank=4",)),
    "minilm, short, full, 8 rows": ("minilm", "short", "full", ("training.global_batch_size=8",)),
    "minilm, medium, full, 256 tokens": ("minilm", "medium", "full", ("training.micro_batch_tokens=256",)),
    "minilm, short, lora, rank 64": ("minilm", "short", "lora", ("method.rank=64",)),
    "minilm, short, head": ("minilm", "short", "head", ()),
    "minilm, medium, freeze": ("minilm", "medium", "freeze", ("training.global_batch_size=8",)),
    "stories260k, texts, full": ("stories260k", "texts", "full", ()),
    "llama 256x4, texts, full": ("llama-256-4", "texts", "full", ()),
    "llama 256x4, texts, lora": ("llama-256-4", "texts", "lora", ()),
    "mobilenetv1, images, full": ("mobilenetv1-025-96-vww", "images", "full", ()),
    "vit 128x4, images, full": ("vit-128-4", "images", "full", ()),
}


def measured(place: Place, *, name: str, quick: bool) -> dict[str, Any]:
    """Predicted and measured bytes and seconds of one configuration."""
    import burnish

    base, data, method, settings = CONFIGURATIONS[name]
    overrides = [f"method={method}" if "method." not in "".join(settings) else f"method={{name: {method}}}"]
    overrides += [f"model.base={_base(base, place.work)}", "evaluation.resamples=200", "training.threads=1"]
    overrides += [] if method == "head" else ["training.max_steps=2"]
    if data == "texts":
        overrides += ["task=chat", "model.chat_template=plain"]
    run = burnish.train(_data(data, place.work), overrides=[*overrides, *settings], output=place.work / "run")
    manifest = run.folder.manifest()
    found = manifest["forecast"]
    return {
        "name": name,
        "predicted_bytes": found["memory"]["total"],
        "measured_bytes": manifest["peak_memory_bytes"],
        "predicted_seconds": [found["seconds_low"], found["seconds_high"]],
        "measured_seconds": manifest["seconds"],
        "parts": found["memory"],
        "inputs": found["inputs"],
        "weights": manifest["base"]["parameters"],
        "learned": manifest["training"]["trainable_parameters"],
    }


def _base(name: str, work: Path) -> str:
    """A base by name: an alias, a small real model, or a random one of a family, width and depth."""
    if name == "minilm":
        return name
    if (SHARED / "models" / name).is_dir():
        return str(SHARED / "models" / name)
    import torch
    import transformers

    family, width, layers = name.split("-")
    sizes: dict[str, Any] = {"hidden_size": int(width), "num_hidden_layers": int(layers)}
    sizes |= {"num_attention_heads": int(width) // 32, "intermediate_size": 4 * int(width)}
    folder = work / name
    torch.manual_seed(SEED)
    if family == "bert":
        transformers.BertModel(transformers.BertConfig(**sizes)).save_pretrained(folder)
        _copy_tokenizer(_minilm(), folder)
    elif family == "llama":
        words = {"vocab_size": 4_096, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 512}
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **words)).save_pretrained(folder)
        _copy_tokenizer(SHARED / "models" / "stories260k", folder)
    else:
        shape = transformers.ViTConfig(**sizes, image_size=96)
        transformers.ViTForImageClassification(shape).save_pretrained(folder)
        about = {"do_resize": True, "size": {"height": 96, "width": 96}, "do_center_crop": False, "resample": 2}
        about |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "image_processor_type": "ViTImageProcessor"}
        (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return str(folder)


def _minilm() -> Path:
    from burnish.model.find import find_base
    from burnish.model.options import ModelOptions

    return find_base(ModelOptions(), recipe_folder=Path(), runs=Path()).folder


def _copy_tokenizer(source: Path, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)


def _data(name: str, work: Path) -> str:
    """Rows: 96 intents of banking77 alone or joined to longer texts, 48 pieces of Shakespeare, or 80 small images."""
    if name == "images":
        with zipfile.ZipFile(SHARED / "data" / "fashion_mnist_900" / "fashion_mnist_900.zip") as archive:
            for member in sorted(name for name in archive.namelist() if name.endswith(".png")):
                part, label, file = member.split("/")[-3:]
                folder = work / "images" / label
                if part == "train" and len(list(folder.glob("*"))) < 8:
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / file).write_bytes(archive.read(member))
        return str(work / "images")
    if name == "texts":
        text = (SHARED / "data" / "tiny_shakespeare" / "input.txt").read_text(encoding="utf-8")
        path = work / "texts.jsonl"
        lines = (json.dumps({"text": text[900 * i : 900 * i + 700]}) for i in range(48))
        path.write_text("\n".join(lines), encoding="utf-8")
        return str(path)
    joined = {"short": 1, "medium": 8, "long": 20}[name]
    by_label: dict[str, list[str]] = {}
    for row in rows_of(BANKING77 / "train.csv", text="text", label="category"):
        by_label.setdefault(row.label, []).append(row.text)
    path = work / f"{name}.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for label in sorted(by_label)[:6]:
            texts = by_label[label]
            for i in range(16):
                chosen = [texts[(i + 7 * k) % len(texts)] for k in range(joined)]
                stream.write(json.dumps({"text": " ".join(chosen), "label": label}) + "\n")
    return str(path)


def shown(rows: list[dict[str, Any]]) -> str:
    """The table, and the share within 15 %."""
    lines = []
    for row in rows:
        low, high = row["predicted_seconds"]
        lines.append(
            (
                row["name"],
                f"{row['weights'] / 1e6:.1f} M",
                f"{row['predicted_bytes'] / 2**20:,.0f}",
                f"{row['measured_bytes'] / 2**20:,.0f}",
                f"{_error(row):+.0%}",
                f"{low:.0f} to {high:.0f}",
                f"{row['measured_seconds']:.0f}",
            )
        )
    head = ("configuration", "weights", "predicted MiB", "measured MiB", "error", "predicted s", "measured s")
    within = sum(abs(_error(row)) <= WITHIN for row in rows)
    return f"{table(head, lines)}\n\nwithin {WITHIN:.0%}: {within} of {len(rows)}"


def _error(row: dict[str, Any]) -> float:
    error: float = row["predicted_bytes"] / row["measured_bytes"] - 1
    return error


def main() -> None:
    arguments = parser(__doc__ or "", pairs=1)
    arguments.add_argument("--only", nargs="*", default=list(CONFIGURATIONS), help="these configurations")
    arguments.add_argument("--again", action="store_true", help="also those that were measured before")
    options = parsed(arguments)
    if answer({"measured": measured}, options):
        return
    from burnish.lifecycle.environment import describe_environment

    known = {row["name"]: row for row in json.loads(RESULT.read_text())["configurations"]} if RESULT.is_file() else {}
    for name in options.only[:1] if options.quick else options.only:
        if name in known and not options.again:
            continue
        known[name] = run_arm(__file__, "measured", {"name": name, "quick": options.quick}, threads=1)
        rows = [known[each] for each in CONFIGURATIONS if each in known]
        content = {"environment": describe_environment(), "seed": SEED, "n": len(rows), "configurations": rows}
        if not options.quick:
            RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(shown([known[name] for name in CONFIGURATIONS if name in known]))


if __name__ == "__main__":
    main()
