"""How many of the rare entities of wnut17 does the smallest base find, and how far is that from a large one?

    python benchmarks/tagging.py [--output FOLDER]

MiniLM (22 M weights, trained on sentences without capitals) is tuned on the training sentences of WNUT 2017, chooses on
its validation sentences and is judged on its test sentences: emerging entities in noisy texts of another year.
Published for the same test: BERTweet, 135 M weights trained on tweets, 56.5 (Nguyen et al. 2020, arXiv:2005.10200).
Prints a table with 95 % intervals and writes benchmarks/results/tagging.json. A finished run in --output is read, not
repeated.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from measuring import RESULTS, ROOT, table

import burnish
from burnish.lifecycle.environment import describe_environment
from burnish.lifecycle.run import Run
from burnish.recipe.schema import Recipe

WNUT17 = ROOT.parent / "shared" / "data" / "wnut17"
METRICS = ("entity-f1", "entity-precision", "entity-recall")


def trained(output: Path) -> Run:
    """The run, gone on with where there is one."""
    parts = {name: str(WNUT17 / f"{name}.conll") for name in ("train", "validation", "test")}
    recipe = Recipe.model_validate({"task": "token-classification", "data": parts})
    return burnish.train(recipe, output=output, resume=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="the run's folder; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        run = trained(options.output or Path(work) / "run")
        evaluation, manifest = run.evaluation, run.folder.manifest()
    found: dict[str, Any] = {
        "environment": describe_environment(),
        "seed": 13,
        "rows": manifest["data"]["splits"],
        "n": evaluation["n"],
        "models": evaluation["models"],
        "classes": evaluation["classes"],
        "verdict": evaluation["verdict"],
        "training_seconds": manifest["training"]["training_seconds"],
    }
    (RESULTS / "tagging.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    lines = [[arm, *(_percent(values[name]) for name in METRICS)] for arm, values in found["models"].items()]
    print(table(["arm", *METRICS], lines))
    print(f"{found['verdict']['answer']} than {found['verdict']['against']}, n = {found['n']:,}")


def _percent(entry: dict[str, Any]) -> str:
    return f"{100 * entry['value']:.1f} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"


if __name__ == "__main__":
    main()
