"""How fast is full fine-tuning of an encoder, and in how much memory, against transformers' Trainer?

    python benchmarks/encoder.py --pairs 5

MiniLM on rows of banking77, 32 rows per optimizer step for everybody, real rows counted, each arm in a process of its
own, arms taking turns so that what else the machine does falls on all of them. Seconds are those of the steps, without
loading, tokenising and judging; peak memory is the process's. Peers:

    trainer-defaults   rows in random order, 8 at once, accumulated 4 times, padded, fp32
    trainer-best       32 at once, grouped by length, bf16 where the hardware has it

Prints a table and writes benchmarks/results/encoder.json. Needs banking77 in ../shared/data and the extras demo, dev.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT.parent / "shared" / "data" / "banking77" / "train.csv"
RESULTS = ROOT / "benchmarks" / "results"
ARMS = ("burnish", "trainer-best", "trainer-defaults")
BATCH, WARM_UP = 32, 5  # rows per optimizer step; steps that are not counted


def cut(folder: Path, rows: int, seed: int) -> Path:
    """Random training rows as a file; texts and categories of banking77."""
    with SOURCE.open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    chosen = random.Random(seed).sample(found, rows)
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(chosen)
    return path


def burnish_arm(data: Path, steps: int, work: Path) -> dict[str, float]:
    import burnish

    settings = [f"training.max_steps={steps}", "training.log_every_steps=1", "method=full"]
    settings += [f"training.evaluate_every_steps={steps}", "checkpoint.every_steps=null"]
    run = burnish.train(data, output=work / "run", overrides=settings)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text("utf-8").splitlines()]
    seconds = [BATCH / line["rows_per_second"] for line in lines if "loss" in line][WARM_UP:]
    memory = run.folder.manifest()["training"]["peak_memory_bytes"]
    return {"rows_per_second": BATCH * len(seconds) / sum(seconds), "peak_memory_bytes": memory}


def trainer_arm(data: Path, steps: int, work: Path, *, best: bool) -> dict[str, float]:
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from burnish.engine.precision import choose_device, choose_precision
    from burnish.lifecycle.environment import default_threads, peak_memory_bytes
    from burnish.model.load import find_base
    from burnish.model.options import ModelOptions

    torch.set_num_threads(default_threads())
    base = find_base(ModelOptions(), recipe_folder=Path(), runs=Path("absent")).folder
    with data.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = sorted({row["category"] for row in rows})
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [{**tokenizer(row["text"], truncation=True), "labels": labels.index(row["category"])} for row in rows]
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels), dtype=torch.float32)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    bf16 = choose_precision("auto", choose_device()).name == "bf16"
    options: dict[str, Any] = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": BATCH // 8}
    if best:
        options = {"per_device_train_batch_size": BATCH, "train_sampling_strategy": "group_by_length", "bf16": bf16}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(work / "trainer"),
            max_steps=steps,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            **options,
        ),
        train_dataset=encoded,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[Clock()],
    )
    trainer.train()
    seconds = times[-1] - times[WARM_UP - 1]
    return {"rows_per_second": BATCH * (steps - WARM_UP) / seconds, "peak_memory_bytes": peak_memory_bytes()}


def one_arm(arm: str, data: Path, steps: int) -> dict[str, float]:
    """One training in a process of its own."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, __file__, "--arm", arm, "--data", str(data), "--steps", str(steps), "--work", work]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def summary(measured: dict[str, list[dict[str, float]]]) -> tuple[str, dict[str, Any]]:
    """The table, and burnish's ratio to each peer: median and range over the pairs."""
    lines = ["| arm | rows/s | peak MB | burnish is faster by | burnish's memory |", "|---|---|---|---|---|"]
    ratios: dict[str, Any] = {}
    for arm, found in measured.items():
        rates = [one["rows_per_second"] for one in found]
        memory = [one["peak_memory_bytes"] / 1e6 for one in found]
        cells = [arm, f"{statistics.median(rates):.1f}", f"{statistics.median(memory):,.0f}", "", ""]
        if arm != "burnish":
            ours = measured["burnish"]
            speed = [a["rows_per_second"] / b["rows_per_second"] for a, b in zip(ours, found, strict=True)]
            space = [a["peak_memory_bytes"] / b["peak_memory_bytes"] for a, b in zip(ours, found, strict=True)]
            ratios[arm] = {"speed": speed, "memory": space}
            cells[3:] = [_with_range(speed), _with_range(space)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines), ratios


def _with_range(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}x ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm == "burnish":
        print(json.dumps(burnish_arm(options.data, options.steps, options.work)))
        return
    if options.arm:
        best = options.arm == "trainer-best"
        print(json.dumps(trainer_arm(options.data, options.steps, options.work, best=best)))
        return
    from burnish.lifecycle.environment import describe_environment

    measured: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        data = cut(Path(folder), options.rows, options.seed)
        for pair in range(options.pairs):
            for arm in ARMS if pair % 2 == 0 else reversed(ARMS):
                measured[arm].append(one_arm(arm, data, options.steps))
    table, ratios = summary(measured)
    print(table)
    RESULTS.mkdir(exist_ok=True)
    told = {"pairs": options.pairs, "steps": options.steps, "rows": options.rows, "seed": options.seed}
    result = {**told, "environment": describe_environment(), "measured": measured, "ratios": ratios}
    (RESULTS / "encoder.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
