"""Is the model as good for every group? Each group's metric, the widest gap, and how often each is decided for.

Shapes: N rows, K groups, M differences, R resamples.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.data.doctor.classes import SMALL_GROUP
from burnish.errors import excerpt
from burnish.evaluation.gates import Gate
from burnish.evaluation.metrics.resampling import Array, cells, draws, measured, resampled, wilson_interval
from burnish.evaluation.wording import signed
from burnish.types import Metric

MOST_GROUPS = 20  # of a column, the largest ones
MOST_VALUES = 10  # different numbers that are groups themselves; more are cut into quarters
QUARTERS = (0.25, 0.5, 0.75)
MISSING = "(missing)"
# A group that lacks a class gets a lower value for it, or none; accuracy does not depend on which classes there are.
OF_ALL_CLASSES = ("macro-f1", "roc-auc", "pr-auc")
RATES = ("selection", "true-positive", "false-positive")


@dataclass(frozen=True, slots=True)
class Decisions:
    """The labels of the rows and those they were given: of two classes, what the rates of groups are made of.

    Attributes:
        positive: of two classes, the one that is looked for; "" of more.
        true, said: (N,) labels.
    """

    positive: str
    true: Sequence[str]
    said: Sequence[str]


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference with an interval that holds for all differences of its family at once, in the metric's unit."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def group_names(known: Sequence[Any], cells_N: Sequence[Any]) -> list[str]:
    """The group of each row: its cell as it is written, or of numbers with many values the quarter it lies in.

    Args:
        known: cells of the training rows, which settle whether these are numbers and where the quarters begin.
        cells_N: cells of the rows to name.

    >>> group_names(range(1, 101), [3, 60, None])
    ['under 25.75', '50.5 to under 75.25', '(missing)']
    """
    present = [cell for cell in known if cell not in (None, "")]
    numbers = [number for cell in present if (number := _number(cell)) is not None]
    if len(numbers) < len(present) or len(set(numbers)) <= MOST_VALUES:
        return [MISSING if cell in (None, "") else str(cell) for cell in cells_N]
    edges = sorted({float(edge) for edge in np.quantile(numbers, QUARTERS)})
    names = [f"under {edges[0]:g}", *(f"{low:g} to under {high:g}" for low, high in itertools.pairwise(edges))]
    names.append(f"{edges[-1]:g} or more")
    placed = [_number(cell) for cell in cells_N]
    return [MISSING if x is None else names[int(np.searchsorted(edges, x, side="right"))] for x in placed]


def judge_groups(
    columns: Mapping[str, Sequence[str]],
    metrics: Sequence[Metric],
    references: Sequence[Any],
    predictions: Sequence[Any],
    *,
    decisions: Decisions | None = None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """{"metric", "fewest", "columns": [...]}: what evaluation.json says of the groups of each column.

    Args:
        columns: column -> the group of each of the N rows.
        metrics: empty ones, the one that decides first; where a group lacks a class, accuracy is compared instead of
            a metric of all classes.
        references, predictions: as the metrics compare them.
        decisions: where there is one label per row.

    Groups under `SMALL_GROUP` rows are counted and not compared. Gaps are between the best and the worst group, and
    of each group to all other rows. Their intervals hold for all pairs of groups at once: the worst and the best of
    many groups are apart by chance alone.

    Source: studentized bootstrap maximum, Romano and Wolf 2005, Econometrica 73:1237-1282, section 4 (one step). Rates
    as in Hardt et al. 2016, arXiv:1610.02413.
    """
    parts = {column: _Part.of(values) for column, values in columns.items()}
    metric = _comparable(metrics, decisions, [rows for part in parts.values() for rows in part.rows.values()])
    found = []
    for column, part in parts.items():
        compared = _Compared.of(part, metric, references, predictions, resamples=resamples, seed=seed)
        rates = {}
        if decisions is not None and decisions.positive and part.rows:
            rates = _rates(part, decisions, compared.groups, resamples=resamples, seed=seed)
        shown = {"column": column, "groups": compared.groups, "too_small": part.too_small, "gap": compared.gap()}
        found.append(shown | rates)
    return {"metric": metric.name, "fewest": SMALL_GROUP, "columns": found}


def groups_gate(judged: Mapping[str, Any], max_gap: float) -> Gate:
    """The gate `groups`: stops a model whose gap between two groups is above `max_gap` for certain."""
    metric = str(judged["metric"])
    gaps = [(entry["gap"], entry["column"]) for entry in judged["columns"] if entry["gap"]]
    figures = {"max_gap": max_gap, "metric": metric}
    limit = signed(metric, max_gap).removeprefix("+")
    if not gaps:
        return Gate("groups", True, f"No column has two groups of {judged['fewest']} test rows.", figures=figures)
    certain = [pair for pair in gaps if pair[0]["low"] > max_gap]
    gap, column = max(certain or gaps, key=lambda pair: pair[0]["low"] if certain else pair[0]["value"])
    figures |= {"column": column, **gap}
    shown = (
        f'The {metric} of "{excerpt(column)}" {excerpt(gap["worst"])} is {signed(metric, gap["value"])} from that of '
        f"{excerpt(gap['best'])} (95 % interval {signed(metric, gap['low'])} to {signed(metric, gap['high'])}),"
    )
    shown = shown.replace("is +", "is ").replace("interval +", "interval ").replace("to +", "to ")
    if certain:
        advice = "Add training rows of the worse group, or look at their labels with `burnish audit`."
        return Gate("groups", False, f"{shown} and {limit} are allowed.", advice, figures)
    if gap["value"] > max_gap:
        return Gate("groups", True, f"{shown} above {limit}, but not for certain: watch it.", figures=figures)
    return Gate("groups", True, f"{shown} within {limit}.", figures=figures)


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of each group that is large enough, and the groups that are not."""

    rows: Mapping[str, Array]
    too_small: list[dict[str, Any]]

    @classmethod
    def of(cls, values: Sequence[str]) -> _Part:
        counts = Counter(values).most_common()
        large = [group for group, n in counts if n >= SMALL_GROUP][:MOST_GROUPS]
        names = np.array(values, dtype=object)
        rows = {group: np.flatnonzero(names == group) for group in large}
        return cls(rows, [{"group": group, "n": n} for group, n in counts if group not in rows])


@dataclass(frozen=True, slots=True)
class _Compared:
    """The metric of K groups, and under R resamples of each."""

    groups: list[dict[str, Any]]
    sign: float
    values_K: Array  # noqa: N815  # the shape is part of the name
    resampled_RK: Array  # noqa: N815

    @classmethod
    def of(
        cls,
        part: _Part,
        metric: Metric,
        references: Sequence[Any],
        predictions: Sequence[Any],
        *,
        resamples: int,
        seed: int,
    ) -> _Compared:
        def rows_of(some: Array) -> tuple[list[Any], list[Any]]:
            return [references[i] for i in some], [predictions[i] for i in some]

        groups, own, others = [], [], []
        values, other_values = [], []
        everyone = np.arange(len(references))
        for index, (group, rows) in enumerate(part.rows.items()):
            rest = np.setdiff1d(everyone, rows)
            value = measured(metric, *rows_of(rows))
            groups.append({"group": group, **value.as_dict()})
            own.append(_resamples(metric, *rows_of(rows), resamples, seed + 2 * index + 1))
            values.append(value.value)
            if len(rest) >= SMALL_GROUP:
                other_values.append(value.value - measured(metric, *rows_of(rest)).value)
                others.append(own[-1] - _resamples(metric, *rows_of(rest), resamples, seed + 2 * index + 2))
        if len(others) == len(groups) > 0:
            for entry, each in zip(groups, simultaneous(np.array(other_values), np.stack(others, axis=1)), strict=True):
                entry["against_others"] = each.as_dict()
        resampled_RK = np.stack(own, axis=1) if own else np.zeros((resamples, 0))
        return cls(groups, 1.0 if metric.higher_is_better else -1.0, np.array(values), resampled_RK)

    def gap(self) -> dict[str, Any] | None:
        """Best group minus worst, how much better it is; None where fewer than two are compared."""
        found = widest(self.sign * self.values_K, self.sign * self.resampled_RK)
        if found is None:
            return None
        best, worst, interval = found
        return {"best": self.groups[best]["group"], "worst": self.groups[worst]["group"], **interval.as_dict()}


def simultaneous(values_M: Array, resampled_RM: Array) -> list[Interval]:
    """Each value with an interval; 95 times in a hundred all of them hold together."""
    error_M = resampled_RM.std(axis=0)
    moves = error_M > 0
    if not moves.any():
        return [Interval(float(value), float(value), float(value)) for value in values_M]
    farthest_R = (np.abs(resampled_RM - values_M)[:, moves] / error_M[moves]).max(axis=1)
    half_M = float(np.quantile(farthest_R, 0.95)) * error_M
    return [Interval(float(v), float(v - h), float(v + h)) for v, h in zip(values_M, half_M, strict=True)]


def widest(values_K: Array, resampled_RK: Array) -> tuple[int, int, Interval] | None:
    """The highest and the lowest of K values, and their difference with an interval that holds for all pairs."""
    if len(values_K) < 2:
        return None
    pairs = np.array(list(itertools.combinations(range(len(values_K)), 2)))
    high, low = int(values_K.argmax()), int(values_K.argmin())
    if high == low:
        high, low = 0, 1
    difference_M = values_K[pairs[:, 0]] - values_K[pairs[:, 1]]
    intervals = simultaneous(difference_M, resampled_RK[:, pairs[:, 0]] - resampled_RK[:, pairs[:, 1]])
    place = next(m for m, pair in enumerate(pairs.tolist()) if set(pair) == {high, low})
    found = intervals[place]
    return high, low, found if pairs[place][0] == high else Interval(-found.value, -found.high, -found.low)


def _rates(
    part: _Part, decisions: Decisions, groups: Sequence[dict[str, Any]], *, resamples: int, seed: int
) -> dict[str, Any]:
    """{"positive", "rate_gaps"}; how often each group is decided for is added to its entry."""
    true = np.array([label == decisions.positive for label in decisions.true])
    said = np.array([label == decisions.positive for label in decisions.said])
    random = np.random.default_rng(seed)
    gaps: dict[str, Any] = {}
    for entry in groups:
        entry["rates"] = {}
    for name, counted in zip(RATES, (np.ones_like(true), true, ~true), strict=True):
        shown, shares, again = [], [], []
        for entry, rows in zip(groups, part.rows.values(), strict=True):
            own = rows[counted[rows]]
            if not len(own):
                continue
            hits, n = int(said[own].sum()), len(own)
            low, high = wilson_interval(hits, n)
            entry["rates"][name] = {"value": hits / n, "n": n, "low": low, "high": high}
            if n >= SMALL_GROUP:
                shown.append(entry["group"])
                shares.append(hits / n)
                again.append(random.binomial(n, hits / n, size=resamples) / n)
        found = widest(np.array(shares), np.stack(again, axis=1)) if again else None
        if found is not None:
            highest, lowest, interval = found
            gaps[name] = {"highest": shown[highest], "lowest": shown[lowest], **interval.as_dict()}
    return {"positive": decisions.positive, "rate_gaps": gaps}


def _comparable(metrics: Sequence[Metric], decisions: Decisions | None, groups: Sequence[Array]) -> Metric:
    """The metric that decides, or accuracy where it needs classes that a group lacks."""
    decider = metrics[0]
    if decider.name not in OF_ALL_CLASSES or decisions is None:
        return decider
    known = set(decisions.true)
    if all({decisions.true[i] for i in rows} == known for rows in groups):
        return decider
    return next((metric for metric in metrics if metric.name == "accuracy"), decider)


def _resamples(
    metric: Metric, references: Sequence[Any], predictions: Sequence[Any], resamples: int, seed: int
) -> Array:
    """(R,) values of the metric on resampled rows."""
    rows, counts_N = cells(references, predictions)
    truth, said = [row[0] for row in rows], [row[1] for row in rows]
    return np.concatenate([resampled(metric, truth, said, block) for block in draws(counts_N, resamples, seed)])


def _number(cell: Any) -> float | None:
    """The finite number a cell holds."""
    if isinstance(cell, bool) or cell is None:
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
