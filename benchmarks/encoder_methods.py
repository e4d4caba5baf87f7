"""What do the methods bring on one classification, for which share of the weights and which time?

    python benchmarks/encoder_methods.py

MiniLM (22.7 million weights) learns the 77 intents of banking77 from 3,000 random rows, of which 10 % choose the epoch;
judged on the 3,080 official test rows. Three passes, one thread, one seed. Methods whose rate depends on what they
change are shown at several. Accuracy with its 95 % interval, the share of
the weights that learns, seconds of training, and of processor time for the whole run with its verdict, which other work
on the machine does not change. Writes benchmarks/results/encoder_methods.json after every training.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import RESULTS, read_rows, table, write_rows

from burnish.lifecycle.environment import describe_environment

ROWS, EPOCHS, SEED = 3_000, 3, 13
ARMS: tuple[tuple[str, float], ...] = (  # method, learning rate; the first of each method is its default
    ("head", 0.0),  # solved, without steps; first, because it fills the cache of the base's vectors for the others
    ("ia3", 8e-3),
    ("adapter", 1e-3),
    ("lora", 1e-3),
    ("full", 2e-4),
    ("prompt-tuning", 3e-2),
    ("ia3", 3e-2),
    ("prompt-tuning", 1e-2),
    ("adapter", 3e-3),
)


def trained(folder: Path, method: str, rate: float) -> dict[str, Any]:
    import burnish

    settings = {
        "model.base": "minilm",
        "method": method,
        "training.learning_rate": rate or "null",
        "training.epochs": EPOCHS,
        "training.threads": 1,
        "checkpoint.every_steps": "null",
    }
    overrides = [f"{name}={value}" for name, value in settings.items()]
    output = folder / f"{method}-{rate}"
    started = time.process_time()
    run = burnish.train(folder / "train.csv", test=folder / "test.csv", output=output, overrides=overrides, seed=SEED)
    about = run.folder.manifest()["training"]
    return {
        "method": method,
        "learning_rate": rate,
        "validation": about["best_value"],
        "accuracy": run.evaluation["models"]["tuned"]["accuracy"],
        "trainable_parameters": about["trainable_parameters"],
        "share": about["trainable_parameters"] / about["total_parameters"],
        "seconds": about["training_seconds"],
        "processor_seconds": time.process_time() - started,
        "verdict": run.verdict["answer"],
    }


def main() -> None:
    name, rows = read_rows("train")
    measured: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_rows(folder / "train.csv", random.Random(SEED).sample(rows, ROWS))
        write_rows(folder / "test.csv", read_rows("test")[1])
        for method, rate in ARMS:
            measured.append(trained(folder, method, rate))
            print(measured[-1], flush=True)
            content = {"data": name, "rows": ROWS, "epochs": EPOCHS, "seed": SEED, "measured": measured}
            RESULTS.mkdir(exist_ok=True)
            written = json.dumps({**content, "environment": describe_environment()}, indent=1) + "\n"
            (RESULTS / "encoder_methods.json").write_text(written, encoding="utf-8")
    cells = []
    for arm in measured:
        accuracy = arm["accuracy"]
        interval = f"[{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]"
        cells.append(
            [
                arm["method"],
                f"{arm['learning_rate']:g}" if arm["learning_rate"] else "",
                f"{arm['trainable_parameters']:,} ({arm['share']:.2%})",
                f"{100 * arm['validation']:.1f}",
                f"{100 * accuracy['value']:.1f} {interval}",
                f"{arm['seconds']:.0f}",
                f"{arm['processor_seconds']:.0f}",
            ]
        )
    heads = ["method", "learning rate", "weights that learn", "validation, %", "test, %", "training, s", "processor, s"]
    print(table(heads, cells))


if __name__ == "__main__":
    main()
