"""`burnish check`, first version: everything that reading, cleaning and splitting finds, with file and line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from burnish.data.clean import LABEL
from burnish.data.prepare import prepare
from burnish.lifecycle.rows import TRAINED, explain, other_rows
from burnish.lifecycle.train import RECIPE_SUFFIXES, recipe_of, task_class
from burnish.types import Problem, Progress, Split

PLACES = 20  # of each kind, in the JSON output


def check_data(
    source: str | Path,
    *,
    test: str | Path | None = None,
    task: str | None = None,
    overrides: Sequence[str] = (),
    progress: Progress,
) -> dict[str, Any]:
    """Reads, cleans and splits as a training would, and says what it found; writes nothing.

    Returns:
        {"files", "format", "task", "rows", "columns", "labels", "splits", "notes", "warnings",
        "problems": [{"code", "count", "share", "reason", "places"}]}.
    """
    extra = [*overrides, *([f"task={task}"] if task else [])]
    recipe, folder = recipe_of(source, test=test, overrides=extra, seed=None)
    progress.stage(f"checking {source}" if Path(source).suffix in RECIPE_SUFFIXES else "checking the data")
    other = other_rows(recipe, folder)
    if other is None:
        wanted = task_class(recipe).columns
    else:
        wanted = {LABEL: str} if other.has_label else {}
        progress.note(explain(other))
    data = prepare(recipe.data, wanted, base_folder=folder, seed=recipe.training.seed, row_format=other)
    rows = sum(int(entry["rows"]) for entry in data.files.values())
    kinds: dict[str, list[Problem]] = {}
    for problem in data.problems:
        kinds.setdefault(problem.code, []).append(problem)
    return {
        "files": list(data.files),
        "format": other.name if other else "text-label",
        "task": other.task if other else recipe.task or TRAINED,
        "rows": rows,
        "columns": dict(data.columns),
        "labels": {label: sum(counts.get(label, 0) for counts in data.label_counts.values()) for label in data.labels},
        "splits": {split.value: len(data.splits[split]) for split in Split},
        "notes": list(data.notes),
        "warnings": list(data.warnings),
        "problems": [
            {
                "code": code,
                "count": len(found),
                "share": len(found) / max(1, rows),
                "reason": found[0].reason,
                "places": [str(problem.origin) for problem in found[:PLACES]],
            }
            for code, found in sorted(kinds.items(), key=lambda item: -len(item[1]))
        ],
    }
