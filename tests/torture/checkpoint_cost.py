"""What do checkpoints cost in time and on the disk?

    python tests/torture/checkpoint_cost.py --pairs 5

Trains `lora` and `full` on the demo's data for --steps steps, with a checkpoint every N steps and without any but the
one each run ends with, in alternating pairs: the figure is the median of the pairs' ratios of training time (1.02: two
percent slower). Says how many bytes a checkpoint takes. Needs all-MiniLM-L6-v2 (`minilm`), or another --base.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

from toy_runs import METHODS, Outcome, manifest_of, parser_of, report


def train(base: str, method: str, steps: int, every: int | None, run: Path) -> tuple[float, int]:
    """Seconds of the training, and bytes of its last checkpoint."""
    settings = {
        "data.columns": '{"text": "message", "label": "next_action"}',
        "model.base": base,
        "method": method,
        "checkpoint.every_steps": "null" if every is None else every,
        "evaluation.resamples": 100,
        "training.max_steps": steps,
        "training.evaluate_every_steps": steps,
        "training.threads": len(os.sched_getaffinity(0)),
    }
    data = resources.files("burnish.data") / "demo" / "train.csv"
    command = ["-m", "burnish", "train", str(data), "--output", str(run)]
    changes = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    subprocess.run([sys.executable, *command, *changes], check=True, capture_output=True)
    size = sum(path.stat().st_size for path in (run / "checkpoints" / f"step-{steps}").iterdir())
    seconds = float(manifest_of(run)["training"]["training_seconds"])
    shutil.rmtree(run)
    return seconds, size


def measure(base: str, *, steps: int, pairs: int, every: list[int], work: Path) -> Outcome:
    outcome = Outcome()
    for method in METHODS:
        ratios: dict[int, list[float]] = {number: [] for number in every}
        for _ in range(pairs):
            for number in every:
                plain, size = train(base, method, steps, None, work / "run")
                saving, _ = train(base, method, steps, number, work / "run")
                ratios[number].append(saving / plain)
        outcome.figures[f"{method}: bytes of a checkpoint"] = size
        for number, found in ratios.items():
            outcome.figures[f"{method}: time ratio, every {number} steps"] = round(statistics.median(found), 3)
            outcome.figures[f"{method}: ratios, every {number} steps"] = [round(ratio, 3) for ratio in found]
    return outcome


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 5, 20])
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-", dir=options.work) as work:
        arguments = {"steps": options.steps, "pairs": options.pairs, "every": options.every}
        outcome = measure(options.base, **arguments, work=Path(work))
    return report("checkpoint_cost", outcome, seed=options.seed, n=options.pairs, started=started)


if __name__ == "__main__":
    sys.exit(main())
