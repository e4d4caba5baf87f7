"""`burnish plan`: what to do with a data set, from arms and a short rehearsal measured within about a minute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.errors import UsageError
from burnish.evaluation.advice import ENDPOINT, Advice, Facts, advise
from burnish.evaluation.compare import Difference
from burnish.evaluation.folds import bounds, pooled, pooled_arms, strongest
from burnish.evaluation.learning_curve import FEWEST_POINTS, Point, fit_law
from burnish.evaluation.metrics import find_metric
from burnish.lifecycle.decided import decided
from burnish.lifecycle.endpoint_arm import ask_endpoint, require_askable
from burnish.lifecycle.endpoints import KEY, named_endpoint
from burnish.lifecycle.forecast import Forecast, forecast
from burnish.lifecycle.own import Own
from burnish.lifecycle.plan_record import (
    as_dict,
    cost,
    described_curve,
    described_data,
    described_rehearsal,
    next_command,
)
from burnish.lifecycle.recipe_of import recipe_of, with_absolute_paths
from burnish.lifecycle.rehearse import Rehearsed, rehearsal_parts, rehearse
from burnish.lifecycle.sources import choices
from burnish.lifecycle.train import read_rows
from burnish.model.find import find_base
from burnish.model.license import describe_license, require_known_use, require_use
from burnish.model.load import Base
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
        LicenseError: [license/forbids-use], [license/unknown] for a use that the base's license does not allow.
        BurnishError: whatever reading the data or opening the base raises.
    """
    progress = progress or Silent()
    asked = None
    if endpoint is not None:
        asked = named_endpoint(endpoint, endpoint_model, option="--endpoint", key_variable=key_variable)
    opened = _opened(source, test, overrides, progress, from_scratch=from_scratch, asked=asked is not None)
    recipe, data = opened.recipe, opened.data
    writes = opened.task.name in WRITING
    parts = rehearsal_parts(
        data,
        recipe.data,
        most_rows=WRITTEN_ROWS if writes else ROWS,
        most_judged=WRITTEN_JUDGED if writes else JUDGED,
        seed=recipe.training.seed,
    )
    options: Any = {"steps": STEPS, "runs": settings().runs, "progress": progress}
    rehearsed = [rehearse(recipe, part, opened.base, opened.task, **options) for part in parts]
    further = {}
    if from_scratch:
        further["from-scratch"] = _from_scratch(recipe, parts[0], opened.task, options)
    answer = ask_endpoint(asked, rehearsed[0], parts[0], recipe, data.labels, progress) if asked else None
    if answer is not None:
        further[ENDPOINT] = answer["value"]
    facts = _facts(recipe, data, rehearsed, answer)
    advice = advise(facts)
    recipe = _with_advice(recipe, advice, opened.task)
    if output is not None:
        write_text(Path(output), recipe_text(recipe))
    return {
        **advice.as_dict(),
        "task": opened.task.name,
        "metric": facts.metric,
        "data": described_data(data, parts, facts),
        "arms": {name: as_dict(point) for name, point in facts.arms.items()} | further,
        "rehearsal": described_rehearsal(rehearsed, facts),
        "curve": described_curve(rehearsed, facts),
        "base": opened.base.describe() | {"license": describe_license(opened.base, recipe.model.use)},
        "choices": choices(recipe, opened.said, opened.notes),
        "cost": cost(rehearsed, facts, opened.expected),
        "recipe": recipe_text(recipe),
        "next": next_command(advice, str(output or source)),
    }


@dataclass(frozen=True, slots=True)
class _Opened:
    """Everything that is known before anything is measured.

    Attributes:
        recipe: with everything decided that `said` leaves open, and the notes on why.
        expected: memory and time as they are foreseen; None for tables.
    """

    recipe: Recipe
    said: Recipe
    notes: list[str]
    task: Any
    data: PreparedData
    base: Base
    expected: Forecast | None


def _opened(
    source: str | Path | Recipe,
    test: str | Path | None,
    overrides: Sequence[str],
    progress: Progress,
    *,
    from_scratch: bool,
    asked: bool,
) -> _Opened:
    """Reads the data, opens the base and decides the recipe; refuses what cannot be planned before time is spent."""
    recipe, folder = recipe_of(source, test=test, overrides=overrides, seed=None)
    progress.stage("reading and splitting the data")
    said, task, data = read_rows(with_absolute_paths(recipe, folder), Own())
    require_rehearsed(task.name, str(source))
    if from_scratch:
        _require_drawn(task.name)
    if asked:
        require_askable(data.splits[Split.TRAIN][0])
    progress.stage("opening the base")
    require_known_use(said.model)
    base = find_base(said.model, recipe_folder=Path(), runs=settings().runs)
    require_use(base, said.model.use)
    noted = _Notes()
    recipe = decided(said, data, base, task, noted)
    return _Opened(recipe, said, noted.lines, task, data, base, forecast(recipe, base, data))


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


def _facts(
    recipe: Recipe,
    data: PreparedData,
    rehearsed: Sequence[Rehearsed],
    answer: Mapping[str, Any] | None,
) -> Facts:
    evaluations = [found.evaluation for found in rehearsed]
    arms, best = pooled_arms(evaluations), strongest(evaluations)
    agree = [found.disagreeing for found in rehearsed if found.disagreeing is not None]
    train = data.splits[Split.TRAIN]
    counts = data.label_counts[Split.TRAIN] if train and {"label", "target"} & set(train[0].row) else {}
    return Facts(
        metric=evaluations[0]["metric"],
        minimum_effect=recipe.evaluation.minimum_effect,
        arms={name: point for name, point in arms.items() if name != "tuned"},
        tuned=arms["tuned"],
        gain=pooled([Difference(**e["arms"][best]["difference"]) for e in evaluations]),
        strongest=best,
        share_of_steps=_share_of_steps(recipe, rehearsed[0].training["steps"], len(train)),
        train_rows=len(train),
        class_rows=counts if data.labels else {},
        doubling=_doubling(rehearsed, best, evaluations[0]["metric"], len(train)),
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
        Point(of.train_rows, value.value, *bounds(value.as_dict()))
        for of in rehearsed[0].fewer
        if (value := of.values.get(arm)) is not None
    ]
    if len({point.rows for point in points}) < FEWEST_POINTS:
        return None
    law = fit_law(points, higher_is_better=find_metric(metric).higher_is_better, seed=0)
    return law.gain(rows, 2 * rows)


def _from_scratch(recipe: Recipe, part: PreparedData, task: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a model whose weights are drawn reaches in as many steps."""
    tree = recipe.model_dump(mode="json")
    tree["model"]["initialization"] = "random"
    tree["method"] = "full"
    tree["training"] |= {"epochs": None, "learning_rate": None, "layer_decay": 1.0}
    drawn = Recipe.model_validate(tree)
    base = find_base(drawn.model, recipe_folder=Path(), runs=options["runs"])
    found = rehearse(drawn, part, base, task, **options)
    return as_dict(pooled_arms([found.evaluation])["tuned"])


def _with_advice(recipe: Recipe, advice: Advice, task: Any) -> Recipe:
    """The recipe that does what is advised: a probe of the base is `method: head`."""
    if advice.use != "base-probe" or "head" not in getattr(task, "methods", ()):
        return recipe
    tree = recipe.model_dump(mode="json", exclude_defaults=True)
    tree["method"] = "head"
    for name in ("epochs", "learning_rate"):
        tree["training"].pop(name, None)
    return Recipe.model_validate(tree)
