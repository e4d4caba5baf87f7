"""`burnish curve`: what a method reaches on nested subsets of the training rows, and what more rows would bring.

Every point is a file in the curve's folder; a curve that was stopped goes on with the points that are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.errors import UsageError
from burnish.evaluation.folds import pooled_arms
from burnish.evaluation.learning_curve import FEWEST_POINTS, Law, Point, fit_law
from burnish.evaluation.lever import Symptoms, find_lever
from burnish.evaluation.metrics import find_metric
from burnish.lifecycle.advise import require_rehearsed
from burnish.lifecycle.claim import claimed
from burnish.lifecycle.decided import decided
from burnish.lifecycle.own import Own
from burnish.lifecycle.recipe_of import recipe_of, with_absolute_paths
from burnish.lifecycle.rehearse import cut, rehearsal_parts, rehearse, with_rows
from burnish.lifecycle.train import read_rows
from burnish.model.find import find_base
from burnish.model.load import Base
from burnish.recipe.schema import Recipe
from burnish.settings import settings
from burnish.storage.durable import make_folder, write_json
from burnish.storage.fingerprint import canonical_sha256
from burnish.storage.lock import exclusive
from burnish.storage.run_folder import RunFolder
from burnish.types import Progress, Silent, Split

LAW = "error = scale * rows ** -exponent + floor"
FURTHER = (1, 2, 10)  # times the rows there are
MOST = 1_000_000  # rows: no cut


def curve(
    source: str | Path | Recipe,
    *,
    test: str | Path | None = None,
    overrides: Sequence[str] = (),
    points: int = 4,
    share: float = 1.0,
    method: str | None = None,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains on ever more of the training rows, judges each time on the same rows that validate, and fits a law.

    The test rows stay sealed. The subsets double, and each holds the one before it.

    Args:
        source: data file, recipe file or a Recipe.
        points: subsets, FEWEST_POINTS or more.
        share: of the training rows that the largest subset holds, over 0 to 1.
        method: what is trained; None: the recipe's, and where it names none `head`, if the task has it.
        output: the curve's folder; None: one under the runs folder, named after data and settings.

    Returns:
        {"folder", "task", "metric", "method", "rows", "points", "law", "forecast", "ceiling", "lever", "why", "notes"}.

    Raises:
        UsageError: [curve/too-few-points], [curve/bad-share], [curve/too-few-rows], [curve/other-curve],
            [plan/not-planned].
        BurnishError: whatever reading, opening and training raise.
    """
    progress = progress or Silent()
    _require_sense(points, share)
    runs = settings().runs
    recipe, folder = recipe_of(source, test=test, overrides=overrides, seed=None)
    progress.stage("reading and splitting the data")
    recipe, task, data = read_rows(with_absolute_paths(recipe, folder), Own())
    require_rehearsed(task.name, str(source))
    sizes = _sizes(data, points, share)
    recipe, notes = _with_method(recipe, task, method)
    base = find_base(recipe.model, recipe_folder=Path(), runs=runs)
    recipe = decided(recipe, data, base, task, progress)
    for note in notes:
        progress.note(note)
    key = canonical_sha256({"recipe": recipe.model_dump(mode="json"), "rows": data.split_fingerprint, "share": share})
    place = Path(output) if output is not None else runs / f"curve-{key[:12]}"
    make_folder(place)
    with exclusive(place):
        if not claimed(place / "curve.json", key):
            raise UsageError(
                "curve/other-curve",
                "this folder holds a curve of other rows or settings",
                where=str(place),
                hint="name another --output",
            )
        found = _points(recipe, data, base, task, place=place, sizes=sizes, progress=progress)
    law = _law(recipe, found)
    described = _described(recipe, data, found, law)
    write_json(place / "curve.json", {"key": key, **described})
    return {"folder": str(place), "task": task.name, **described, "notes": notes}


def _require_sense(points: int, share: float) -> None:
    if points < FEWEST_POINTS:
        raise UsageError(
            "curve/too-few-points",
            f"a law is drawn through {FEWEST_POINTS} points or more, not {points}",
            where="--points",
            hint=f"write --points {FEWEST_POINTS}, or leave it out",
        )
    if not 0 < share <= 1:
        raise UsageError(
            "curve/bad-share", f"{share:g} is no share of the rows", where="--share", hint="write one over 0 up to 1"
        )


def _with_method(recipe: Recipe, task: Any, method: str | None) -> tuple[Recipe, list[str]]:
    """The recipe with the method of the curve, and what is to be said about it."""
    if method is None and recipe.method is None and "head" in getattr(task, "methods", ()):
        note = (
            "method: head, which is solved in seconds; see what tuning the base makes of more rows with --method full"
        )
        return _naming(recipe, "head"), [note]
    return (_naming(recipe, method) if method is not None else recipe), []


def _naming(recipe: Recipe, method: str) -> Recipe:
    return Recipe.model_validate({**recipe.model_dump(mode="json", exclude_unset=True), "method": method})


def _sizes(data: PreparedData, points: int, share: float) -> list[int]:
    """Rows of the subsets, smallest first: each half of the next, none smaller than there are labels.

    Raises:
        UsageError: [curve/too-few-rows].
    """
    most = round(share * len(data.splits[Split.TRAIN]))
    sizes = sorted({max(len(data.labels), most >> halvings, 1) for halvings in range(points)})
    if len(sizes) < FEWEST_POINTS:
        raise UsageError(
            "curve/too-few-rows",
            f"{most:,} training rows with {len(data.labels):,} labels hold no {FEWEST_POINTS} subsets of different "
            "sizes",
            where="--share",
            hint="take a larger share, or get more rows",
        )
    return sizes


def _points(
    recipe: Recipe,
    data: PreparedData,
    base: Base,
    task: Any,
    *,
    place: Path,
    sizes: Sequence[int],
    progress: Progress,
) -> list[dict[str, Any]]:
    """What each subset gives; read from the folder where it is there."""
    seed = recipe.training.seed
    parts = rehearsal_parts(data, recipe.data, most_rows=MOST, most_judged=MOST, seed=seed)
    found = []
    for size in sizes:
        file = place / f"point-{size}.json"
        if not file.is_file():
            progress.stage(f"{size:,} rows")
            write_json(file, _point(recipe, parts, size / len(data.splits[Split.TRAIN]), base, task, progress))
        found.append(RunFolder(place).content(file))
    return found


def _point(
    recipe: Recipe, parts: Sequence[PreparedData], share: float, base: Base, task: Any, progress: Progress
) -> dict[str, Any]:
    """One point: the values of the trained model and of the arms on a share of the rows, over all folds."""
    rehearsed = []
    for part in parts:
        learning, choosing = part.splits[Split.TRAIN], part.splits[Split.VALIDATION]
        seed = recipe.training.seed
        smaller = cut(learning, max(1, round(share * len(learning))), recipe.data, seed)
        fewer = with_rows(part, smaller, choosing, part.splits[Split.TEST])
        rehearsed.append(rehearse(recipe, fewer, base, task, steps=None, runs=settings().runs, progress=progress))
    learned = [one.learned for one in rehearsed if one.learned is not None]
    training = rehearsed[-1].training
    return {
        "rows": round(sum(one.train_rows for one in rehearsed) / len(rehearsed)),
        "metric": rehearsed[0].evaluation["metric"],
        "values": {
            name: {"value": value.value, "low": value.low, "high": value.high, "n": value.rows}
            for name, value in pooled_arms([one.evaluation for one in rehearsed]).items()
        },
        "learned": sum(learned) / len(learned) if learned else None,
        "still_rising": training["best_step"] >= training["steps"] if training["steps"] else None,
        "seconds": sum(one.seconds for one in rehearsed),
    }


def _law(recipe: Recipe, found: Sequence[Mapping[str, Any]]) -> Law:
    points = [Point(p["rows"], *(p["values"]["tuned"][key] for key in ("value", "low", "high"))) for p in found]
    metric = find_metric(found[0]["metric"])
    return fit_law(points, higher_is_better=metric.higher_is_better, seed=recipe.training.seed)


def _described(recipe: Recipe, data: PreparedData, found: Sequence[Mapping[str, Any]], law: Law) -> dict[str, Any]:
    rows, metric = len(data.splits[Split.TRAIN]), str(found[0]["metric"])
    method = recipe.method.name if recipe.method else ""
    last = found[-1]
    lever, why = find_lever(
        Symptoms(
            metric=metric,
            minimum_effect=recipe.evaluation.minimum_effect,
            doubling=law.gain(rows, 2 * rows),
            learned=last["learned"],
            reached=last["values"]["tuned"]["value"],
            still_rising=last["still_rising"],
            method=method,
        )
    )
    return {
        "metric": metric,
        "method": method,
        "rows": rows,
        "points": list(found),
        "law": {"form": LAW, **law.as_dict()},
        "forecast": [_forecast(law, rows * times) for times in FURTHER],
        "ceiling": law.ceiling(),
        "lever": str(lever),
        "why": why,
    }


def _forecast(law: Law, rows: int) -> dict[str, float]:
    point = law.at(rows)
    return {"rows": rows, "value": point.value, "low": point.low, "high": point.high}
