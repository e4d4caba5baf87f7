"""What do checkpoints cost in time and on the disk?

    python tests/torture/checkpoint_cost.py --rounds 5

Trains `full` and `lora` on 500 rows of the demo for --steps steps: without any checkpoint but the one each run ends
with, and with one every N steps, in turn. The figure is the median over the rounds of the ratio of the two training
times (1.02: two percent slower). Says how many bytes a checkpoint takes. Needs all-MiniLM-L6-v2 (`minilm`), or
another --base.
"""

from __future__ import annotations

import csv
import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from toy_runs import METHODS, Outcome, manifest_of, parser_of, report

ROWS = 500


@dataclass(frozen=True)
class Trainings:
    """Trainings that differ in their method and their checkpoints only."""

    base: str
    steps: int
    seed: int
    work: Path

    def train(self, method: str, every: int | None) -> tuple[float, int]:
        """Seconds of one training, and bytes of its last checkpoint."""
        settings = {
            "data.columns": '{"text": "message", "label": "next_action"}',
            "model.base": self.base,
            "method": method,
            "checkpoint.every_steps": "null" if every is None else every,
            "evaluation.resamples": 100,
            "training.epochs": 100,
            "training.max_steps": self.steps,
            "training.evaluate_every_steps": self.steps,
        }
        changes = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        run = self.work / "run"
        command = ["train", str(self._rows()), "--output", str(run), "--seed", str(self.seed), *changes]
        subprocess.run([sys.executable, "-m", "burnish", *command], check=True, capture_output=True)
        size = sum(path.stat().st_size for path in (run / "checkpoints" / f"step-{self.steps}").iterdir())
        seconds = float(manifest_of(run)["training"]["training_seconds"])
        shutil.rmtree(run)
        return seconds, size

    def _rows(self) -> Path:
        path = self.work / "rows.csv"
        if not path.exists():
            text = (resources.files("burnish.data") / "demo" / "train.csv").read_text("utf-8")
            rows = itertools.islice(csv.reader(text.splitlines()), ROWS + 1)
            with path.open("w", encoding="utf-8", newline="") as stream:
                csv.writer(stream).writerows(rows)
        return path


def measure(trainings: Trainings, *, rounds: int, every: list[int]) -> Outcome:
    outcome = Outcome()
    for method in METHODS:
        ratios: dict[int, list[float]] = {number: [] for number in every}
        for _ in range(rounds):
            plain, size = trainings.train(method, None)
            for number, found in ratios.items():
                found.append(round(trainings.train(method, number)[0] / plain, 3))
        outcome.figures[f"{method}: bytes of a checkpoint"] = size
        for number, found in ratios.items():
            outcome.figures[f"{method}: time ratio, every {number} steps"] = statistics.median(found)
            outcome.figures[f"{method}: ratios, every {number} steps"] = found
    return outcome


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 5, 20])
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-", dir=options.work) as work:
        trainings = Trainings(options.base, options.steps, options.seed, Path(work))
        outcome = measure(trainings, rounds=options.rounds, every=options.every)
    return report("checkpoint_cost", outcome, seed=options.seed, n=options.rounds, started=started)


if __name__ == "__main__":
    sys.exit(main())
