"""The verdict of a run: the tuned model as it was saved, against every arm that needs no fine-tuning, on the same rows.

The test rows are sealed until here: the manifest holds their sha256 from the start of the run. Each time they are
opened is counted there and in evaluation.json, because a test set that is looked at often stops being one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from burnish.data.clean import check_bad_rows, to_examples
from burnish.data.columns import check_columns, check_kept_columns
from burnish.data.deduplicate import leakage
from burnish.data.images import examples_of
from burnish.data.prepare import PreparedData
from burnish.data.source import inspect_source, read_source
from burnish.data.split import labels_in
from burnish.errors import DataProblemError, RunError, excerpt, nearest
from burnish.evaluation.card import render_card
from burnish.evaluation.report import render_report
from burnish.lifecycle.benches import judged, open_bench
from burnish.lifecycle.image_bench import ImageBench
from burnish.lifecycle.own import Own
from burnish.lifecycle.pairs import settle_pairs
from burnish.lifecycle.rows import settled_task
from burnish.lifecycle.train import read_rows, refuse_changed_data, task_class
from burnish.lifecycle.workbench import Workbench
from burnish.model.find import find_base
from burnish.recipe.read import read_recipe
from burnish.recipe.schema import Recipe
from burnish.serving.table_package import use
from burnish.storage.durable import write_json, write_text
from burnish.storage.lock import exclusive
from burnish.storage.run_folder import RunFolder
from burnish.types import Problem, Progress, Split


def judge_run(folder: RunFolder, bench: Workbench, *, runs: Path) -> None:
    """Opens the sealed test rows and writes evaluation.json and predictions.jsonl."""
    evaluation, rows = _judge(folder, bench, runs)
    folder.write_rows(folder.predictions, rows)
    if "shipped" in evaluation:
        use(folder.final, evaluation["shipped"])
    write_json(folder.evaluation, evaluation)
    if isinstance(bench, ImageBench):
        write_json(folder.pictures, bench.pictures(rows))
    verdict = evaluation["verdict"]
    value = evaluation["models"]["tuned"][verdict["metric"]]["value"]
    folder.update_manifest(
        verdict={"answer": verdict["answer"], "metric": verdict["metric"], "tuned": value},
        sealed=folder.manifest().get("sealed", {}) | {"opened": evaluation["opened"]},
    )
    folder.event("test-opened", times=evaluation["opened"])


def publish_report(folder: RunFolder) -> None:
    """Writes card.md and report.html from what the run folder says; choices between other answers count no more."""
    settle_pairs(folder)
    write_text(folder.card, render_card(folder.path))
    write_text(folder.report, render_report(folder.path))


def evaluate_run(folder: RunFolder, *, data: str | None, runs: Path, progress: Progress) -> dict[str, Any]:
    """Judges a finished run again: on its own test rows, or on other labelled rows.

    The arms are fitted again on the run's training rows, so that other rows get a whole verdict too. On other rows
    nothing is written; rows that the run learned or chose from are left out of them.

    Raises:
        RunError: [run/not-finished], [run/own-parts], [run/data-changed], [run/locked].
    """
    manifest = folder.manifest()
    if not folder.final.is_dir() or not folder.evaluation.is_file():
        raise RunError(
            "run/not-finished",
            "this run has no model yet",
            where=str(folder.path),
            hint=f"go on with: burnish resume {folder.path}",
        )
    if manifest.get("parts_of_the_caller"):
        parts = ", ".join(sorted(manifest["parts_of_the_caller"]))
        raise RunError("run/own-parts", f"this run was made with your own {parts}", where=str(folder.path))
    recipe = read_recipe(folder.recipe)
    recipe, task, prepared = read_rows(recipe, Own())
    refuse_changed_data(folder, prepared)
    if data is not None:
        prepared = with_other_rows(recipe, prepared, Path(data), progress)
    base = find_base(recipe.model, recipe_folder=Path(), runs=runs)
    bench = open_bench(recipe, base, prepared, task, Own(), folder, progress)
    if data is None:
        with exclusive(folder.path):
            judge_run(folder, bench, runs=runs)
        publish_report(folder)
        return folder.content(folder.evaluation)
    evaluation, _ = _judge(folder, bench, runs)
    return evaluation | {"split": data}


def _judge(folder: RunFolder, bench: Workbench, runs: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """evaluation.json's content, and the rows of predictions.jsonl."""
    return judged(folder, bench, runs, 1 + _opened_before(folder))


def with_other_rows(recipe: Recipe, prepared: PreparedData, path: Path, progress: Progress) -> PreparedData:
    """The same data with the rows of another file as test rows.

    Raises:
        DataReadError: [data/unknown-column] when the file lacks a column of the run.
        DataProblemError: [data/too-many-bad-rows]; [data/unknown-label] naming the first row; [data/nothing-new]
            when no row is left.
    """
    groups = recipe.evaluation.groups  # of what else rows bring along, splitting is done
    options = recipe.data.model_copy(update={"keep_columns": groups, "group_by": None, "time_column": None})
    shape = inspect_source(path, options)
    check_columns(shape, prepared.columns)
    check_kept_columns(shape, options)
    records = read_source(path, shape, options)
    row_format = settled_task(recipe, Path())[1]
    if row_format is not None:
        items = list(examples_of(row_format, records, path, kept=groups))
    else:
        items = list(to_examples(records, prepared.columns, task_class(recipe).columns, options))
    rows = [item for item in items if not isinstance(item, Problem)]
    refused = [item for item in items if isinstance(item, Problem)]
    check_bad_rows(refused, len(items), recipe.data.max_bad_ratio)
    if refused:
        first = f"{refused[0].origin}: {refused[0].reason}"
        progress.warn(f"{len(refused)} rows of {path} cannot be judged and are left out, first {first}")
    for example in rows:
        label = next((label for label in labels_in(example.row) if label not in prepared.labels), None)
        if label is not None:
            close = nearest(label, prepared.labels)
            raise DataProblemError(
                "data/unknown-label",
                f'"{excerpt(label)}" is not one of the {len(prepared.labels)} labels of this run',
                where=str(example.origin),
                known=prepared.labels,
                hint=f'did you mean "{close}"?' if close else "map it with data.label_map",
            )
    known = [e for split in (Split.TRAIN, Split.VALIDATION) for e in prepared.splits[split]]
    fresh, seen = leakage(rows, known)
    if seen:
        progress.warn(f"{len(seen)} rows of {path} were learned or chosen from in this run and are left out")
    if not fresh:
        raise DataProblemError(
            "data/nothing-new", "no row of this file is new to the run", where=str(path), hint="use rows it never saw"
        )
    return dataclasses.replace(prepared, splits={**prepared.splits, Split.TEST: fresh})


def _opened_before(folder: RunFolder) -> int:
    """How often the test rows were opened; a look that died before its evaluation.json was written does not count."""
    evaluation = folder.content(folder.evaluation) if folder.evaluation.is_file() else {}
    sealed = folder.manifest().get("sealed", {})
    return max(int(evaluation.get("opened", 0)), int(sealed.get("opened", 0)))
