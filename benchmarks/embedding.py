"""What fine-tuning brings an embedding that is good already: MiniLM before and after, on held-out rows.

    python benchmarks/embedding.py stsb_captions --epochs 4 --batch 64
    python benchmarks/embedding.py banking77 --per-label 10 --epochs 4

stsb_captions: pairs of image captions with a score from 0 to 5, judged by Spearman's correlation of the cosines with
the scores; the set's own parts. banking77: each test question searches the training questions for those of its intent,
judged by NDCG@10 and recall@1; the set's own test part, 10 % of the training rows validate. Everything not named here
is what a recipe without settings gives. Training rows that share a text with a row that is judged on are left out.

Prints the figures with their 95 % intervals and writes benchmarks/results/embedding-NAME.json. Needs the set in
../shared/data and the extra demo.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import BANKING77, RESULTS, Row, rows_of, write_rows

import burnish

SHARED = BANKING77.parent


def overrides_of(name: str, arguments: argparse.Namespace) -> list[str]:
    settings = {
        "task": "embedding",
        "training.epochs": arguments.epochs,
        "training.global_batch_size": arguments.batch,
        "training.learning_rate": arguments.rate,
    }
    if name == "stsb_captions":
        settings["data.validation"] = str(SHARED / name / "validation.csv")
    return [f"{field}={value}" for field, value in settings.items() if value is not None]


def few_rows(rows: Sequence[Row], per_label: int, seed: int) -> list[Row]:
    """As many rows of each label, drawn by the seed."""
    of_label: dict[str, list[Row]] = {}
    for row in rows:
        of_label.setdefault(row.label, []).append(row)
    draw = random.Random(seed)
    return [row for label in sorted(of_label) for row in draw.sample(of_label[label], per_label)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["stsb_captions", "banking77"])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--per-label", type=int, help="training rows of each intent, drawn by the seed; default: all")
    parser.add_argument("--batch", type=int, help="rows per step")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int, default=13)
    arguments = parser.parse_args()
    folder = SHARED / arguments.name
    with tempfile.TemporaryDirectory() as work:
        train, test = (str(folder / f"{part}.csv") for part in ("train", "test"))
        if arguments.per_label:
            rows, judged = (rows_of(path, label="category") for path in (train, test))
            train = write_rows(Path(work) / "train.csv", few_rows(rows, arguments.per_label, arguments.seed))
            test = write_rows(Path(work) / "test.csv", judged)
        run = burnish.train(
            train,
            test=test,
            overrides=overrides_of(arguments.name, arguments),
            seed=arguments.seed,
            output=Path(work) / "run",
        )
        manifest, evaluation = run.folder.manifest(), run.evaluation
    found = {
        "set": arguments.name,
        "rows": manifest["data"]["splits"],
        "judged_by": evaluation["judged_by"],
        "models": evaluation["models"],
        "validation": evaluation["validation"],
        "verdict": evaluation["verdict"],
        "training": manifest["training"],
        "environment": manifest["environment"],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"embedding-{arguments.name}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for arm, values in evaluation["models"].items():
        shown = (f"{name} {v['value']:.4f} [{v['low']:.4f}, {v['high']:.4f}]" for name, v in values.items())
        print(f"{arm:14} n = {evaluation['n']}: {', '.join(shown)}")
    verdict = evaluation["verdict"]
    print(f"{verdict['answer']} {verdict['difference']:+.4f} [{verdict['low']:+.4f}, {verdict['high']:+.4f}]")


if __name__ == "__main__":
    main()
