"""`burnish plan`: what to do with a data set, from arms and a short rehearsal measured within about a minute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.errors import UsageError
from burnish.evaluation.advice import ENDPOINT, Advice, Course, Facts, advise
from burnish.evaluation.compare import Difference
from burnish.evaluation.learning_curve import FEWEST_POINTS, Point, fit_law
from burnish.evaluation.metrics import find_metric
from burnish.lifecycle.decided import decided
from burnish.lifecycle.endpoint_arm import ask_endpoint
from burnish.lifecycle.endpoints import KEY, named_endpoint
from burnish.lifecycle.forecast import forecast
from burnish.lifecycle.own import Own
from burnish.lifecycle.rehearse import Rehearsed, rehearsal_parts, rehearse
from burnish.lifecycle.sources import choices
from burnish.lifecycle.train import read_rows, recipe_of, with_absolute_paths
from burnish.model.license import describe_license, require_known_use, require_use
from burnish.model.load import find_base
from burnish.recipe.read import recipe_text
from burnish.recipe.schema import Recipe
from burnish.settings import settings
from burnish.storage.durable import write_text
from burnish.task.build import TASKS, WRITING
from burnish.task.text_classification import TextClassification
from burnish.types import Progress, Silent, Split

ROWS, JUDGED = 800, 500  # that a rehearsal learns from and is judged on at most: what a minute allows on two cores
WRITTEN_ROWS, WRITTEN_JUDGED = 300, 40  # the same of texts that are written, which cost a pass for every token
STEPS = 32
NOT_PLANNED = ("recommendation",)  # its rows are not drawn at random: of each user the last choice is judged on


def plan(
    source: str | Path | Recipe,
    *,
    test: str | Path | None = None,
    overrides: Sequence[str] = (),
    output: str | Path | None = None,
    endpoint: str | None = None,
    endpoint_model: str = "",
    key_variable: str = KEY,
    from_scratch: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures on training and validation rows what tuning and its alternatives bring, and says what to do.

    The test rows stay sealed. Nothing is written but `output`.

    Args:
        source: data file, recipe file or a Recipe.
        test: file of the test rows, which are left out.
        output: recipe to write, with every default filled in.
        endpoint: an OpenAI-compatible address; at most ASKED validation rows and the training rows most like them are
            sent there, and nowhere else.
        endpoint_model: as the endpoint calls it.
        key_variable: name of the environment variable that holds its key.
        from_scratch: also rehearse a model whose weights are drawn (text-classification).

    Returns:
        {"answer", "use", "sure", "expected_gain", "reasons", "rows_wanted", "task", "metric", "data", "arms",
        "rehearsal", "curve", "base", "choices", "cost", "recipe", "next"}.

    Raises:
        UsageError: [plan/not-planned] for a task whose rows cannot be rehearsed on, [plan/not-from-scratch];
            [data/bad-endpoint], [plan/not-asked].
        BurnishError: whatever reading the data or opening the base raises.
    """
    progress = progress or Silent()
    asked = (
        named_endpoint(endpoint, endpoint_model, option="--endpoint", key_variable=key_variable) if endpoint else None
    )
    runs = settings().runs
    recipe, folder = recipe_of(source, test=test, overrides=overrides, seed=None)
    progress.stage("reading and splitting the data")
    recipe, task, data = read_rows(with_absolute_paths(recipe, folder), Own())
    require_rehearsed(task.name, str(source))
    if from_scratch:
        _require_drawn(task.name)
    progress.stage("opening the base")
    require_known_use(recipe.model)
    base = find_base(recipe.model, recipe_folder=Path(), runs=runs)
    require_use(base, recipe.model.use)
    notes, said = _Notes(), recipe
    recipe = decided(recipe, data, base, task, notes)
    expected = forecast(recipe, base, data)
    writes = task.name in WRITING
    parts = rehearsal_parts(
        data,
        recipe.data,
        most_rows=WRITTEN_ROWS if writes else ROWS,
        most_judged=WRITTEN_JUDGED if writes else JUDGED,
        seed=recipe.training.seed,
    )
    rehearsed = [rehearse(recipe, part, base, task, steps=STEPS, runs=runs, progress=progress) for part in parts]
    arms = pooled_arms([found.evaluation for found in rehearsed])
    scratch = _from_scratch(recipe, parts[0], task, runs, progress) if from_scratch else None
    answer = ask_endpoint(asked, rehearsed[0], parts[0], recipe, data.labels, progress) if asked else None
    facts = _facts(recipe, data, rehearsed, arms, answer)
    advice = advise(facts)
    recipe = _with_advice(recipe, advice, task)
    if output is not None:
        write_text(Path(output), recipe_text(recipe))
    return {
        **advice.as_dict(),
        "task": task.name,
        "metric": facts.metric,
        "data": _described(data, parts, facts),
        "arms": {name: _as_dict(point) for name, point in arms.items() if name != "tuned"}
        | ({"from-scratch": scratch} if scratch else {})
        | ({ENDPOINT: answer["value"]} if answer else {}),
        "rehearsal": _described_rehearsal(rehearsed, facts),
        "curve": _curve(rehearsed, facts),
        "base": base.describe() | {"license": describe_license(base, recipe.model.use)},
        "choices": choices(recipe, said, notes.lines),
        "cost": _cost(rehearsed, facts) | {"forecast": expected and expected.as_dict() | {"said": expected.sentence()}},
        "recipe": recipe_text(recipe),
        "next": _next(advice, str(output or source)),
    }


class _Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def require_rehearsed(task: str, where: str) -> None:
    """Raises UsageError [plan/not-planned] for a task that is not rehearsed."""
    if task in NOT_PLANNED:
        raise UsageError(
            "plan/not-planned",
            f"{task} is not rehearsed on a part of its rows",
            where=where,
            known=sorted(set(TASKS) - set(NOT_PLANNED)),
            hint=f"train and judge it at once: `burnish train {where}`",
        )


def _require_drawn(task: str) -> None:
    if task != TextClassification.name:
        raise UsageError(
            "plan/not-from-scratch",
            f"a {task} is not tried from scratch",
            where="--from-scratch",
            known=[TextClassification.name],
            hint="leave it out",
        )


def pooled_arms(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Point]:
    """The value of every model over all folds, weighted by the rows that each judged on."""
    metric = evaluations[0]["metric"]
    found = {}
    for name in evaluations[0]["models"]:
        values = [evaluation["models"][name][metric] for evaluation in evaluations]
        pooled = _pooled([Difference(v["value"], *_bounds(v), v["n"]) for v in values])
        found[name] = Point(pooled.n, pooled.value, pooled.low, pooled.high)
    return found


def _bounds(value: Mapping[str, Any]) -> tuple[float, float]:
    """The interval of a metric's value; the value itself where no interval is defined."""
    low, high = value["low"], value["high"]
    return (value["value"] if low is None else low), (value["value"] if high is None else high)


def _pooled(found: Sequence[Difference]) -> Difference:
    """The mean over folds of different rows, whose errors are independent: squared half-widths add up."""
    n = sum(one.n for one in found)
    value = sum(one.n * one.value for one in found) / n
    low = value - math.hypot(*(one.n * (one.value - one.low) for one in found)) / n
    high = value + math.hypot(*(one.n * (one.high - one.value) for one in found)) / n
    return Difference(value, low, high, n)


def _strongest(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The arm that is best on the rows that chose settings, over all folds."""
    metric = evaluations[0]["metric"]
    sign = 1.0 if find_metric(metric).higher_is_better else -1.0
    names: Sequence[str] = list(evaluations[0]["arms"])
    return max(names, key=lambda name: sum(sign * e["validation"][name][metric] for e in evaluations))


def _facts(
    recipe: Recipe,
    data: PreparedData,
    rehearsed: Sequence[Rehearsed],
    arms: Mapping[str, Point],
    answer: Mapping[str, Any] | None,
) -> Facts:
    evaluations = [found.evaluation for found in rehearsed]
    strongest = _strongest(evaluations)
    agree = [found.disagreeing for found in rehearsed if found.disagreeing is not None]
    train = data.splits[Split.TRAIN]
    counts = data.label_counts[Split.TRAIN] if train and {"label", "target"} & set(train[0].row) else {}
    return Facts(
        metric=evaluations[0]["metric"],
        minimum_effect=recipe.evaluation.minimum_effect,
        arms={name: point for name, point in arms.items() if name != "tuned"},
        tuned=arms["tuned"],
        gain=_pooled([Difference(**e["arms"][strongest]["difference"]) for e in evaluations]),
        strongest=strongest,
        share_of_steps=_share_of_steps(recipe, rehearsed[0].training["steps"], len(train)),
        train_rows=len(train),
        class_rows=counts if data.labels else {},
        doubling=_doubling(rehearsed, strongest, evaluations[0]["metric"], len(train)),
        asked=answer["gain"] if answer else None,
        disagreeing=sum(agree) / len(agree) if agree else None,
    )


def _share_of_steps(recipe: Recipe, taken: int, rows: int) -> float:
    """Of the optimizer steps of the whole training; a head takes none and is solved at once."""
    if not taken or recipe.training.epochs is None:
        return 1.0
    steps = recipe.training.epochs * math.ceil(rows / recipe.training.global_batch_size)
    return min(1.0, taken / min(steps, recipe.training.max_steps or steps))


def _doubling(rehearsed: Sequence[Rehearsed], arm: str, metric: str, rows: int) -> Point | None:
    """What twice the rows would bring an arm, by the law through its values on fewer rows of the first fold."""
    points = [
        Point(of.train_rows, value.value, *_bounds(value.as_dict()))
        for of in rehearsed[0].fewer
        if (value := of.values.get(arm)) is not None
    ]
    if len({point.rows for point in points}) < FEWEST_POINTS:
        return None
    law = fit_law(points, higher_is_better=find_metric(metric).higher_is_better, seed=0)
    return law.gain(rows, 2 * rows)


def _from_scratch(recipe: Recipe, part: PreparedData, task: Any, runs: Path, progress: Progress) -> dict[str, Any]:
    """What a model whose weights are drawn reaches in as many steps."""
    tree = recipe.model_dump(mode="json")
    tree["model"]["initialization"] = "random"
    tree["method"] = "full"
    tree["training"] |= {"epochs": None, "learning_rate": None, "layer_decay": 1.0}
    drawn = Recipe.model_validate(tree)
    base = find_base(drawn.model, recipe_folder=Path(), runs=runs)
    progress.stage("the same from scratch")
    found = rehearse(drawn, part, base, task, steps=STEPS, runs=runs, progress=progress)
    return _as_dict(pooled_arms([found.evaluation])["tuned"])


def _with_advice(recipe: Recipe, advice: Advice, task: Any) -> Recipe:
    """The recipe that does what is advised: a probe of the base is `method: head`."""
    if advice.use != "base-probe" or "head" not in getattr(task, "methods", ()):
        return recipe
    tree = recipe.model_dump(mode="json", exclude_defaults=True)
    tree["method"] = "head"
    for name in ("epochs", "learning_rate"):
        tree["training"].pop(name, None)
    return Recipe.model_validate(tree)


def _described(data: PreparedData, parts: Sequence[PreparedData], facts: Facts) -> dict[str, Any]:
    codes: dict[str, int] = {}
    for problem in data.problems:
        codes[problem.code] = codes.get(problem.code, 0) + 1
    return {
        "rows": {split.value: len(rows) for split, rows in data.splits.items()},
        "measured_on": {
            "learned": [len(part.splits[Split.TRAIN]) for part in parts],
            "judged": [len(part.splits[Split.TEST]) for part in parts],
        },
        "labels": dict(facts.class_rows),
        "problems": codes,
        "disagreeing": facts.disagreeing,
        "notes": list(data.notes),
        "warnings": list(data.warnings),
    }


def _described_rehearsal(rehearsed: Sequence[Rehearsed], facts: Facts) -> dict[str, Any]:
    return {
        **_as_dict(facts.tuned),
        "against": facts.strongest,
        "gain": {"value": facts.gain.value, "low": facts.gain.low, "high": facts.gain.high, "n": facts.gain.n},
        "steps": [found.training["steps"] for found in rehearsed],
        "share_of_steps": facts.share_of_steps,
        "seconds": sum(found.seconds for found in rehearsed),
    }


def _curve(rehearsed: Sequence[Rehearsed], facts: Facts) -> dict[str, Any]:
    """The arms on fewer rows of the first fold, and what twice the rows would bring the strongest."""
    doubling = facts.doubling
    return {
        "points": [
            {"rows": of.train_rows, **{name: value.value for name, value in of.values.items()}}
            for of in rehearsed[0].fewer
        ],
        "doubling": None if doubling is None else {"value": doubling.value, "low": doubling.low, "high": doubling.high},
    }


def _cost(rehearsed: Sequence[Rehearsed], facts: Facts) -> dict[str, Any]:
    """What the whole training will take on this machine, by the pace of the rehearsal."""
    steps = rehearsed[0].training["steps"]
    seconds = rehearsed[0].training["training_seconds"]
    return {
        "training_seconds": round(seconds / facts.share_of_steps, 1) if steps else seconds,
        "peak_memory_bytes": max(found.peak_memory_bytes for found in rehearsed),
        "by": f"the pace of {steps} steps on this machine" if steps else "the rehearsal on this machine",
    }


def _next(advice: Advice, source: str) -> str:
    if advice.answer is Course.MORE_DATA:
        return f"burnish check {source}"
    if advice.answer is Course.PROMPT:
        return "keep asking the model as it is; burnish train tells when tuning pays on more rows"
    if advice.use == "base-probe":
        return f"burnish train {source} --set method=head"
    if advice.use in (None, "trees"):
        return f"burnish train {source}"
    return f"use {advice.use}; it needs no training of weights. Prove it: burnish train {source}"


def _as_dict(point: Point) -> dict[str, Any]:
    return {"value": point.value, "low": point.low, "high": point.high, "n": point.rows}
