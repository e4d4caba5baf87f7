"""`burnish monitor`: new rows against the rows that a run was judged on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from burnish.errors import DataProblemError, RunError, UsageError, excerpt
from burnish.evaluation.metrics import LABEL_METRICS, create_metric
from burnish.evaluation.metrics.classification import Accuracy
from burnish.evaluation.metrics.regression import NUMBER_METRICS
from burnish.lifecycle.monitor_rows import read_new_rows
from burnish.lifecycle.observe import READING, WATCHED, cut, recorded, table_sample, text_sample, vectors
from burnish.lifecycle.run import Run
from burnish.lifecycle.runs import load
from burnish.monitoring.drift import CONFIDENCE, LABEL, PREDICTION, Sample, compare, enough_permutations, newness
from burnish.monitoring.options import MonitoringOptions
from burnish.monitoring.quality import Fall, estimated_accuracy, measured_fall
from burnish.monitoring.reference import load_reference
from burnish.monitoring.two_sample import Compared
from burnish.monitoring.words import (
    FEWEST,
    LEAST,
    QUALITY,
    advice,
    distributions,
    power,
)
from burnish.recipe.read import read_recipe
from burnish.recipe.schema import Recipe
from burnish.task.build import WRITING
from burnish.task.tabular import Tabular
from burnish.types import Example, Progress, Silent

MOST_NEW = 2_000  # rows that are compared; more would cost minutes and hardly see more
SHOWN = 10  # rows that look new


def monitor(
    run: str | Path,
    data: str | Path,
    *,
    labels: bool = False,
    alpha: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compares new rows with the test rows of a run.

    Args:
        run: id, unique beginning of an id, or folder.
        data: file of new rows, read as in training.
        labels: the rows have the column of labels too, so that the model's quality is measured and not estimated.
        alpha: chance of a false alarm, of all tests together; the run's recipe says it when None.

    Returns:
        {"run", "task", "data", "answer": "drift", "no drift seen" or "too few rows", "alpha", "rows", "compared",
        "reference_rows", "refused", "tests": [{"of", "statistic", "p_value", "adjusted", "alarm"}], "quality",
        "new": rows that look new when there is drift, "power", "advice", "distributions"}.

    Raises:
        RunError: [run/not-found], [run/not-finished], [monitor/no-reference].
        UsageError: [monitor/not-for-task], [monitor/no-labels], [monitor/alpha].
        DataProblemError: [monitor/too-few-rows]; those of reading the rows.
    """
    progress = progress or Silent()
    loaded = load(run)
    loaded.require_model()
    recipe = read_recipe(loaded.folder.recipe)
    task = str(loaded.folder.manifest().get("task"))
    options = _options(recipe, alpha)
    _require_watched(task, labels)
    reference = _reference(loaded)
    progress.stage(f"reading {data}")
    examples, refused = read_new_rows(loaded, recipe, Path(data), labels=labels)
    if refused:
        progress.warn(f"{len(refused):,} rows are left out, first {refused[0].origin}: {refused[0].reason}")
    _require_enough(len(examples), len(reference), str(data))
    chosen = [examples[place] for place in cut(len(examples), MOST_NEW, seed=recipe.training.seed)]
    new = _observed(loaded, recipe, task, chosen, labels=labels, progress=progress)
    progress.stage("comparing them with the test rows of the run")
    found = _compared(recipe, options, reference, new, chosen)
    return {
        "run": loaded.id,
        "task": task,
        "data": str(data),
        "answer": found.pop("answer"),
        "alpha": options.alpha,
        "rows": len(examples),
        "compared": len(chosen),
        "reference_rows": len(reference),
        "refused": len(refused),
        **found,
    }


def _options(recipe: Recipe, alpha: float | None) -> MonitoringOptions:
    if alpha is None:
        return recipe.monitoring
    if not 0.001 <= alpha <= 0.2:
        raise UsageError(
            "monitor/alpha",
            f"{alpha:g} is no chance of a false alarm from 0.001 to 0.2",
            where="--alpha",
            hint="write --alpha 0.01",
        )
    return recipe.monitoring.model_copy(update={"alpha": alpha})


def _require_watched(task: str, labels: bool) -> None:
    if task not in WATCHED:
        raise UsageError(
            "monitor/not-for-task", f"runs of the task {task} are not monitored yet", where="RUN", known=sorted(WATCHED)
        )
    if labels and task in (*READING, *WRITING):
        raise UsageError(
            "monitor/no-labels",
            f"the answers of a {task} are pieces of texts, which a run does not keep to compare with",
            where="--labels",
            hint="leave --labels out, or judge the rows: burnish evaluate RUN --data FILE",
        )


def _reference(loaded: Run) -> Sample:
    if not loaded.folder.reference.is_dir():
        raise RunError(
            "monitor/no-reference",
            "this run kept no rows to compare with: an earlier burnish made it, or monitoring.reference_rows is 0",
            where=str(loaded.path),
            hint="train again: burnish train RECIPE",
        )
    return load_reference(loaded.folder.reference)


def _require_enough(rows: int, reference: int, where: str) -> None:
    if min(rows, reference) < LEAST:
        few = f"{rows} new rows" if rows < LEAST else f"the run's {reference} test rows"
        raise DataProblemError(
            "monitor/too-few-rows",
            f"{few} can show nothing: {LEAST} at least are compared, and {FEWEST} before silence means anything",
            where=where,
            hint="collect more rows",
        )


def _observed(
    loaded: Run, recipe: Recipe, task: str, examples: Sequence[Example], *, labels: bool, progress: Progress
) -> Sample:
    """What the monitor sees of the new rows, made as for the reference."""
    rows = [example.row for example in examples]
    said: list[dict[str, Any]] = []
    if task == Tabular.name:
        from burnish.serving.table_package import load_table_model

        features = [row["features"] for row in rows]
        answers = loaded.predict(features)
        right = [row.get("target") for row in rows]
        table = load_table_model(loaded.folder.final).task.table
        return table_sample(table, features, list(map(recorded, answers, right)))
    from burnish.model.find import find_base

    base = find_base(recipe.model, recipe_folder=Path(), runs=loaded.runs)
    kept = loaded.folder.manifest().get("base", {}).get("sha256")
    if kept is not None and base.sha256 != kept:
        raise RunError(
            "monitor/other-base",
            f"the base {base.name} is not the one this run was trained on, so its vectors cannot be compared",
            where=str(base.folder),
            hint="put the old base back, or train again",
        )
    if task not in WRITING:
        progress.stage(f"predicting {len(rows):,} rows")
        given = ("label", "labels", "score") if labels else ()
        right = [next((row[name] for name in given if name in row), None) for row in rows]
        said = list(map(recorded, loaded.predict(rows), right))
    return text_sample(task, rows, vectors(task, rows, base, progress), said)


def _compared(
    recipe: Recipe, options: MonitoringOptions, reference: Sample, new: Sample, examples: Sequence[Example]
) -> dict[str, Any]:
    seed = recipe.training.seed
    fall = _fall(recipe, options, reference, new)
    further = {} if fall is None else {QUALITY: Compared(fall.share, fall.p_value)}
    tests = compare(reference, new, alpha=options.alpha, seed=seed, further=further)
    alarms = [
        test.of
        for test in tests
        if test.adjusted <= options.alpha and (test.of != QUALITY or test.statistic >= options.quality_fall)
    ]
    few = min(len(reference), len(new)) < FEWEST
    answer = "drift" if alarms else "too few rows" if few else "no drift seen"
    return {
        "answer": answer,
        "tests": [{**dataclasses.asdict(test), "alarm": test.of in alarms} for test in tests],
        "quality": _quality(fall, options, QUALITY in alarms) or _expected(reference, new, seed),
        "new": _new_rows(reference, new, examples) if alarms else None,
        "power": power(len(new)),
        "advice": advice(answer, alarms),
        "distributions": distributions(reference, new),
    }


def _fall(recipe: Recipe, options: MonitoringOptions, reference: Sample, new: Sample) -> Fall | None:
    """The fall of the run's metric, or where it needs more than labels of the task's plainest one."""
    name = str(recipe.evaluation.metric)
    both = [_answers(sample) for sample in (reference, new)]
    if not all(right for right, _ in both):
        return None
    numbers = LABEL in reference.numbers
    known = [metric.name for metric in NUMBER_METRICS] if numbers else list(LABEL_METRICS)
    plain = "mae" if numbers else Accuracy.name
    labels = sorted({label for right, said in both for label in (*right, *said)}) if not numbers else []
    metric = create_metric(name if name in known else plain, labels)
    count = len(reference.numbers) + len(reference.kinds) + 2
    permutations = enough_permutations(count, options.alpha)
    return measured_fall(metric, both[0], both[1], seed=recipe.training.seed, permutations=permutations)


def _answers(sample: Sample) -> tuple[list[Any], list[Any]]:
    """What is right and what the model says; empty without labels."""
    if LABEL in sample.numbers:
        return sample.numbers[LABEL].tolist(), sample.numbers[PREDICTION].tolist()
    if LABEL in sample.kinds:
        return list(sample.kinds[LABEL]), list(sample.kinds[PREDICTION])
    return [], []


def _quality(fall: Fall | None, options: MonitoringOptions, alarm: bool) -> dict[str, Any] | None:
    if fall is None:
        return None
    return {"measured": True, **dataclasses.asdict(fall), "rule": options.quality_fall, "alarm": alarm}


def _expected(reference: Sample, new: Sample, seed: int) -> dict[str, Any] | None:
    """The accuracy to be expected without labels, of models that name classes."""
    if LABEL not in reference.kinds or CONFIDENCE not in reference.numbers or CONFIDENCE not in new.numbers:
        return None
    right = np.array(reference.kinds[LABEL]) == np.array(reference.kinds[PREDICTION])
    found = estimated_accuracy(reference.numbers[CONFIDENCE], right, new.numbers[CONFIDENCE], seed=seed)
    return {"measured": False, "metric": Accuracy.name, **dataclasses.asdict(found)}


def _new_rows(reference: Sample, new: Sample, examples: Sequence[Example]) -> dict[str, Any]:
    """How many rows look new, how many would by chance, and the first of them."""
    found = newness(reference, new)
    return {
        "count": found.looking_new,
        "by_chance": round(len(new) / 100, 1),
        "rows": [_shown(examples[place], float(found.distances[place])) for place in found.first(SHOWN)],
    }


def _shown(example: Example, distance: float) -> dict[str, Any]:
    from burnish.lifecycle.observe import input_text

    features: Mapping[str, Any] | None = example.row.get("features")
    text = "; ".join(f"{name}: {value}" for name, value in features.items()) if features else input_text(example.row)
    return {
        "file": example.origin.file,
        "line": example.origin.line,
        "excerpt": excerpt(text, 200),
        "distance": distance,
    }
