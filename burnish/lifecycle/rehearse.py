"""A rehearsal: a short training with its verdict on training and validation rows alone; the test rows stay sealed.

The rows that validate are judged on, and a part of the training rows chooses in their place. Where few rows validate,
all of them are judged on in turns. A rehearsal starts its head at the solved probe where there is one: what a few
steps bring beyond it is what changing the base brings, long before a training from class means would show it.

Source: Kumar et al. 2022, arXiv:2202.10054, for the start at the solved probe.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from burnish.data.bundles import bundles
from burnish.data.near_rows import near_row_clusters
from burnish.data.options import DataOptions
from burnish.data.prepare import PreparedData
from burnish.data.split import labels_in, split
from burnish.engine.predict import loss_and_predictions
from burnish.evaluation.arms import unit_rows
from burnish.evaluation.metrics.resampling import Array, measured, value_of
from burnish.lifecycle.benches import judged, open_bench
from burnish.lifecycle.classifier_bench import ClassifierBench
from burnish.lifecycle.decided import decided
from burnish.lifecycle.encoder_bench import EncoderBench
from burnish.lifecycle.environment import describe_environment, peak_memory_bytes
from burnish.lifecycle.own import Own
from burnish.model.load import Base
from burnish.recipe.schema import Recipe
from burnish.storage.run_folder import RunFolder
from burnish.types import Example, MetricValue, Progress, Provenance, Split

CHOOSING_RATIO = 0.15  # of the training rows choose settings, as in a training
FEW_JUDGED = 150  # rows; with fewer that validate, all rows are judged on in turns
FOLDS = 3
LOOKED_AT = 200  # training rows that the trained model is asked about
SHARES = (1.0, 0.5, 0.25)  # of the training rows, on which the arms are measured


@dataclass(frozen=True, slots=True)
class ArmsOf:
    """What the arms reach that learned from so many rows, on the rows that are judged on."""

    train_rows: int
    values: Mapping[str, MetricValue]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What one rehearsal found.

    Attributes:
        evaluation: as evaluation.json, on rows that no model of the rehearsal learned or chose from.
        training: steps, epochs, seconds of the training.
        rows: as predictions.jsonl, one for each row that was judged on.
        fewer: of classifiers, what the arms reach with ever more of the training rows, all of them last.
        disagreeing: of classifiers, share of the training rows whose nearest neighbour has another label.
        learned: of bases with a head, the metric on some of the rows it learned from.
        train_rows: rows it learned from.
        seconds: of all of it.
        peak_memory_bytes: of this process.
    """

    evaluation: dict[str, Any]
    training: dict[str, Any]
    rows: list[dict[str, Any]]
    fewer: list[ArmsOf]
    disagreeing: float | None
    learned: float | None
    train_rows: int
    seconds: float
    peak_memory_bytes: int


def rehearsal_parts(
    data: PreparedData, options: DataOptions, *, most_rows: int, most_judged: int, seed: int
) -> list[PreparedData]:
    """The data of one rehearsal, or of FOLDS that judge on all rows in turns; no test row is in any of them.

    Args:
        most_rows: that are learned and chosen from; of more a stratified cut.
        most_judged: rows judged on by all rehearsals together.
        seed: of the cuts.
    """
    train, validation = data.splits[Split.TRAIN], data.splits[Split.VALIDATION]
    if len(validation) >= FEW_JUDGED or not _may_take_turns(data, options):
        return [_inner(data, train, cut(validation, most_judged, options, seed), most_rows, options, seed)]
    rows = cut([*train, *validation], most_rows + most_judged, options, seed)
    parts, rest = [], rows
    for left in range(FOLDS, 0, -1):
        fold, rest = (rest, []) if left == 1 else _apart(rest, 1 / left, options, seed)
        own = {id(example) for example in fold}
        others = [example for example in rows if id(example) not in own]
        parts.append(_inner(data, others, fold, most_rows, options, seed))
    return parts


def cut(examples: Sequence[Example], most: int, options: DataOptions, seed: int) -> list[Example]:
    """At most about `most` rows with the same shares of the classes, of each at least one; nested for one seed."""
    if len(examples) <= most:
        return list(examples)
    return _apart(examples, 1 - most / len(examples), options, seed)[1]


def with_rows(
    data: PreparedData, train: Sequence[Example], validation: Sequence[Example], test: Sequence[Example]
) -> PreparedData:
    """The same data with other rows in its parts."""
    splits = {Split.TRAIN: train, Split.VALIDATION: validation, Split.TEST: test}
    counts = {part: Counter(label for e in rows for label in labels_in(e.row)) for part, rows in splits.items()}
    return dataclasses.replace(data, splits=splits, found=splits, label_counts=counts)


def rehearse(
    recipe: Recipe, data: PreparedData, base: Base, task: Any, *, steps: int | None, runs: Path, progress: Progress
) -> Rehearsed:
    """Trains for `steps` at most (None: as long as the recipe says), judges, and leaves nothing behind.

    Args:
        recipe: with its method and metric; paths are absolute.
        data: from `rehearsal_parts`.
    """
    started = time.monotonic()
    knows = steps is not None and base.initialization == "pretrained"  # something that steps can start at
    if steps is not None:
        limits = {"max_steps": steps, "evaluate_every_steps": max(1, steps // 3)}
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update=limits)})
    checkpoint = recipe.checkpoint.model_copy(update={"every_steps": None, "keep": 1})
    recipe = decided(recipe.model_copy(update={"checkpoint": checkpoint}), data, base, task, progress)
    with tempfile.TemporaryDirectory(prefix="burnish-rehearsal-") as place:
        folder = RunFolder(Path(place))
        folder.begin_manifest(id="rehearsal", environment=describe_environment())
        bench = open_bench(recipe, base, data, task, Own(), folder, progress)
        if isinstance(bench, EncoderBench):
            bench.solved_start = knows
        bench.record()
        fewer, disagreeing = _looked_at(bench) if isinstance(bench, ClassifierBench) and knows else ([], None)
        trained, model = bench.train()
        learned = _learned(bench) if isinstance(bench, EncoderBench) else None
        bench.save_final(model)
        evaluation, rows = judged(folder, bench, runs, 0)
    return Rehearsed(
        evaluation=evaluation,
        training=trained,
        rows=rows,
        fewer=fewer,
        disagreeing=disagreeing,
        learned=learned,
        train_rows=len(data.splits[Split.TRAIN]),
        seconds=round(time.monotonic() - started, 1),
        peak_memory_bytes=peak_memory_bytes(),
    )


def _looked_at(bench: ClassifierBench) -> tuple[list[ArmsOf], float]:
    """The arms on nested shares of the training rows, and how often nearest neighbours disagree."""
    bench.progress.stage("arms on fewer rows")
    train = bench.data.splits[Split.TRAIN]
    place = {id(example): index for index, example in enumerate(train)}
    found, rows = [], train
    for share in SHARES:
        rows = cut(rows, round(share * len(train)), bench.recipe.data, bench.recipe.training.seed)
        part = bench.with_fewer([place[id(example)] for example in rows])
        metric, references = part.metrics()[0], part.references(Split.TEST)
        values = {arm.name: measured(metric, references, arm.test_predictions) for arm in part.arms()}
        found.append(ArmsOf(len(rows), values))
    return found[::-1], _disagreeing(bench.features(Split.TRAIN), bench.labels(Split.TRAIN))


def _learned(bench: EncoderBench) -> float:
    """The deciding metric of the trained model on training rows, evenly spread over them."""
    examples = bench.data.splits[Split.TRAIN]
    places = np.unique(np.linspace(0, len(examples) - 1, min(len(examples), LOOKED_AT)).round().astype(int)).tolist()
    options: Any = {"layout": bench.layout, "precision": bench.precision, "device": bench.device}
    some = [bench.encoded[Split.TRAIN][i] for i in places]
    _, predictions = loss_and_predictions(bench.task, bench.model.to(bench.device).eval(), some, **options)
    task, rows = bench.task, [examples[i].row for i in places]
    answers = [task.answer(task.shown(row, said)) for row, said in zip(rows, predictions, strict=True)]
    return value_of(bench.metrics()[0], [task.reference(row) for row in rows], answers)


def _disagreeing(features: Array, labels: Sequence[str]) -> float:
    """Share of the rows whose nearest neighbour in (N, D), by cosine, has another label."""
    unit = unit_rows(features)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    label_of = np.asarray(labels, dtype=object)
    return float((label_of[likeness.argmax(axis=1)] != label_of).mean())


def _may_take_turns(data: PreparedData, options: DataOptions) -> bool:
    """Whether training rows may be judged on: real rows, none made or repeated, in no order of time."""
    train = data.splits[Split.TRAIN]
    made = len(train) != len(data.found[Split.TRAIN]) or any(e.provenance is Provenance.SYNTHETIC for e in train)
    return not made and options.time_column is None


def _inner(
    data: PreparedData,
    train: Sequence[Example],
    judged_on: list[Example],
    most_rows: int,
    options: DataOptions,
    seed: int,
) -> PreparedData:
    choosing, learning = _apart(cut(train, most_rows, options, seed), CHOOSING_RATIO, options, seed)
    known = {label for example in learning for label in labels_in(example.row)}
    choosing, judged_on = ([e for e in rows if known.issuperset(labels_in(e.row))] for rows in (choosing, judged_on))
    return dataclasses.replace(
        with_rows(data, learning, choosing, judged_on), labels=tuple(x for x in data.labels if x in known)
    )


def _apart(
    examples: Sequence[Example], ratio: float, options: DataOptions, seed: int
) -> tuple[list[Example], list[Example]]:
    """A stratified share of the rows, and the others; what says almost the same stays together."""
    rows = [example.row for example in examples]
    compared = options.near_duplicates and "features" not in rows[0]  # rows of a table are alike by nature
    clusters = near_row_clusters(rows).tolist() if compared else None
    together = bundles(examples, clusters=clusters, group_by=options.group_by)
    parts = split(examples, ratio, 0.0, seed, together=together)
    return parts[Split.VALIDATION], parts[Split.TRAIN]
