"""`burnish sweep`: which values of the recipe's fields are best on the validation rows; the best is judged once.

A sweep is a folder: `journal.log` holds what Optuna knows (JSON lines), `trials/` one folder per set of values, `best/`
the run of the winner, `sweep.json` what came out. The same command with the same folder goes on after
a stop, and several processes that run it at once share its trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.errors import DivergedError, UsageError
from burnish.evaluation.metrics import find_metric
from burnish.lifecycle.claim import claimed
from burnish.lifecycle.own import Own
from burnish.lifecycle.recipe_of import recipe_of, with_absolute_paths
from burnish.lifecycle.search import FEWEST_GUESSES, in_turn, open_study, require_optuna, search
from burnish.lifecycle.train import read_rows, train
from burnish.lifecycle.trial import Ground, evaluations_of, recipe_of_trial
from burnish.recipe.read import recipe_text
from burnish.recipe.schema import Recipe
from burnish.recipe.space import RATE_FACTOR, Dimension, Value, parse_space
from burnish.settings import settings
from burnish.storage.durable import make_folder, write_json, write_text
from burnish.storage.fingerprint import canonical_sha256
from burnish.task.build import WRITING
from burnish.types import Progress, Silent, Split

RATE_RANGE = (0.2, 5.0)  # times the rate that the recipe would get by itself
BATCHES = ("16", "32", "64")
RANKS = ("4", "8", "16", "32", "64")


def sweep(
    source: str | Path | Recipe,
    *,
    test: str | Path | None = None,
    overrides: Sequence[str] = (),
    over: Sequence[str] = (),
    trials: int = 20,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Searches, then trains with the best values and judges that run on the sealed test rows, once.

    The first trial is the recipe as it is, so that the winner is at least as good on the validation rows.

    Args:
        source: data file, recipe file or a Recipe.
        over: "training.learning_rate=1e-5..1e-3", "method.rank=8,16,32"; what is searched. None: the learning rate
            around the one of base and method, the batch size, and the rank of a LoRA.
        trials: of them, those given up early included.
        output: the sweep's folder; None: one under the runs folder, named after data and space.

    Returns:
        {"folder", "task", "metric", "space", "trials", "best", "first", "importance", "saved", "run", "verdict"}.

    Raises:
        UsageError: [sweep/too-few-trials], [sweep/other-sweep], [sweep/no-optuna].
        RecipeError: [sweep/bad-space].
        BurnishError: whatever reading, opening and training raise.
    """
    progress = progress or Silent()
    require_optuna()
    if trials < 2:
        raise UsageError(
            "sweep/too-few-trials", f"{trials} trial is no search", where="--trials", hint="write --trials 20"
        )
    recipe, folder = recipe_of(source, test=test, overrides=overrides, seed=None)
    progress.stage("reading and splitting the data")
    recipe, task, data = read_rows(with_absolute_paths(recipe, folder), Own())
    tree = recipe.model_dump(mode="json", exclude_unset=True)
    first = recipe_of_trial(Ground(tree, data, task, Path(), progress), {})
    if first.method is not None:
        tree["method"] = tree.get("method") or first.method.name  # fields of the method need it to be named
    space = parse_space(over, tree) if over else default_space(first)
    key = canonical_sha256({"recipe": tree, "rows": data.split_fingerprint, "space": [str(d) for d in space]})
    place = Path(output) if output is not None else settings().runs / f"sweep-{key[:12]}"
    make_folder(place)
    if not claimed(place / "sweep.json", key):
        raise UsageError(
            "sweep/other-sweep",
            "this folder holds a sweep of another recipe, other rows or another space",
            where=str(place),
            hint="name another --output",
        )
    ground = Ground(tree, data, task, place.resolve(), progress)
    metric, higher = _decider(first, task)
    study = open_study(
        place,
        higher=higher,
        seed=recipe.training.seed,
        trials=trials,
        evaluations=evaluations_of(first, len(data.splits[Split.TRAIN])),
    )
    search(study, ground, space, _first_values(space, first), trials)
    found = _described(study, metric, higher)
    best = recipe_of_trial(ground, found["best"]["values"])
    write_text(place / "best.yaml", recipe_text(best))
    progress.stage(f"the best of {len(found['trials'])} trials, trained and judged")
    with in_turn(place):
        run = train(best, output=place / "best", resume=True, progress=progress)
    described = {
        "folder": str(place),
        "task": task.name,
        "space": [_space_as_dict(d) for d in space],
        **found,
        "run": str(run.path),
        "verdict": run.verdict,
    }
    write_json(place / "sweep.json", {"key": key, **described})
    return described


def default_space(recipe: Recipe) -> tuple[Dimension, ...]:
    """What is searched unless somebody says: what decides most about a training, and no more than a few trials find.

    Args:
        recipe: with everything filled in.

    Raises:
        UsageError: [sweep/nothing-to-search] for a head, which is solved at once.

    Source: learning rate first, then batch size and the method's own size, in the order of Goodfellow et al. 2016,
    Deep Learning, section 11.4, and of Hu et al. 2021, arXiv:2106.09685, section 7, for the rank.
    """
    if recipe.training.learning_rate is None:
        raise UsageError(
            "sweep/nothing-to-search",
            "a head is solved at once: no rate and no batch size would change it",
            where="method",
            hint="name what to search, `--over method=head,lora`, or write `method: lora`",
        )
    found = [Dimension(RATE_FACTOR, (), *RATE_RANGE, logarithmic=True)]
    found.append(Dimension("training.global_batch_size", BATCHES))
    if recipe.method is not None and recipe.method.name in ("lora", "qlora"):
        found.append(Dimension("method.rank", RANKS))
    return tuple(found)


def _decider(recipe: Recipe, task: Any) -> tuple[str, bool]:
    """The metric that trials are compared by, which is the one that stops them early, and whether higher is better."""
    if task.name in WRITING:
        return "loss", False
    metric = str(recipe.evaluation.metric)
    return metric, find_metric(metric).higher_is_better


def _first_values(space: Sequence[Dimension], recipe: Recipe) -> dict[str, Value]:
    """The recipe's own values, as far as the space holds them."""
    values: dict[str, Value] = {}
    for dimension in space:
        value = 1.0 if dimension.field == RATE_FACTOR else _value_at(recipe, dimension.field)
        if dimension.choices:
            value = str(value)
            if value in dimension.choices:
                values[dimension.field] = value
        elif isinstance(value, int | float) and dimension.low <= value <= dimension.high:
            values[dimension.field] = int(value) if dimension.whole else float(value)
    return values


def _value_at(recipe: Recipe, field: str) -> Any:
    if field == "method":
        return recipe.method.name if recipe.method else None
    value: Any = recipe
    for name in field.split("."):
        value = getattr(value, name, None)
    return value


def _described(study: Any, metric: str, higher: bool) -> dict[str, Any]:
    """What came out: every trial, the best and the first, what mattered, and what giving up early saved.

    Raises:
        DivergedError: [sweep/nothing-found] when no trial came to its end.
    """
    rows = [{"trial": t.number, **t.user_attrs["found"]} for t in study.trials if "found" in t.user_attrs]
    whole = [row for row in rows if row["state"] == "complete"]
    if not whole:
        raise DivergedError(
            "sweep/nothing-found",
            f"none of {len(rows)} trials came to its end: {rows[0]['why']}",
            where="burnish sweep",
            hint="search smaller learning rates",
        )
    sign = 1.0 if higher else -1.0
    pruned = [row for row in rows if row["state"] == "pruned"]
    return {
        "metric": metric,
        "higher_is_better": higher,
        "trials": rows,
        "best": max(whole, key=lambda row: (sign * row["value"], -row["trial"])),
        "first": rows[0],
        "importance": _importance(study, whole),
        "saved": {
            "trials": len(pruned),
            "seconds": round(sum(_seconds_left(row) for row in pruned), 1),
            "of_seconds": round(sum(row["seconds"] + _seconds_left(row) * (row in pruned) for row in rows), 1),
        },
    }


def _seconds_left(row: Mapping[str, Any]) -> float:
    """What a trial that was given up would have taken longer, at its own pace."""
    told = len(row["evaluations"])
    left: float = row["seconds"] * (row["of"] - told) / max(1, told)
    return left


def _importance(study: Any, whole: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Share of each field in what tells good trials from others; none where too few came to their end.

    Source: PED-ANOVA, Watanabe et al. 2023, arXiv:2304.10255, as Optuna has it.
    """
    from optuna.importance import get_param_importances

    if len({tuple(sorted(row["values"].items())) for row in whole}) < FEWEST_GUESSES:
        return {}
    return {name: round(float(share), 4) for name, share in get_param_importances(study).items()}


def _space_as_dict(dimension: Dimension) -> dict[str, Any]:
    if dimension.choices:
        return {"field": dimension.field, "choices": list(dimension.choices)}
    low, high = dimension.ends()
    return {"field": dimension.field, "low": low, "high": high, "logarithmic": dimension.logarithmic}
