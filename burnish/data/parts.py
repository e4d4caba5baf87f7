"""The three parts of the data without leaks between them, whether split off one file or given as several."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from burnish.data.bundles import bundles, group_of
from burnish.data.clean import check_bad_rows
from burnish.data.deduplicate import content_name, leakage
from burnish.data.near_rows import near_row_clusters
from burnish.data.options import DataOptions
from burnish.data.split import split
from burnish.errors import excerpt
from burnish.types import Example, Problem, Provenance, Split

Parts = dict[Split, list[Example]]

_JUDGING = (Split.VALIDATION, Split.TEST)


def make_parts(
    given: Mapping[Split, Sequence[Example]], options: DataOptions, seed: int
) -> tuple[Parts, dict[Split, list[Problem]]]:
    """Train, validation and test: given parts without leaks, the others split off train.

    Rows of the last given part stay; rows of earlier parts that say the same, say almost the same, or belong to the
    same group leave. Synthetic rows only ever train, and only where no twin of theirs is judged on.

    Args:
        given: cleaned rows of each part that has files of its own; training rows always.

    Returns:
        The parts in file order, and per part a Problem for each row left out.

    Raises:
        DataProblemError: [data/too-many-bad-rows] when too many rows have no readable time.
    """
    rows = {part: [e for e in examples if not _synthetic(e)] for part, examples in given.items()}
    made = [example for example in given[Split.TRAIN] if _synthetic(example)]
    problems: dict[Split, list[Problem]] = {part: [] for part in Split}
    for part in _JUDGING:
        reason = "a synthetic row; only rows from people are judged on"
        found = (e for e in given.get(part, ()) if _synthetic(e))
        problems[part] += [Problem("data/synthetic", reason, example.origin) for example in found]
    for part, later in ((Split.TRAIN, _JUDGING), (Split.VALIDATION, (Split.TEST,))):
        judged_on = [example for other in later for example in rows.get(other, ())]
        if part in rows and judged_on:
            rows[part], found_here = without_twins(rows[part], judged_on, options)
            problems[part] += found_here
    parts, untimed = _split_off(rows, options, seed)
    fitting, leaking = without_twins(made, [e for part in _JUDGING for e in parts[part]], options)
    problems[Split.TRAIN] += [*untimed, *leaking]
    if fitting:
        place = {id(example): index for index, example in enumerate(given[Split.TRAIN])}
        parts[Split.TRAIN] = sorted([*parts[Split.TRAIN], *fitting], key=lambda example: place[id(example)])
    return parts, problems


def without_twins(
    examples: Sequence[Example], judged_on: Sequence[Example], options: DataOptions
) -> tuple[list[Example], list[Problem]]:
    """The rows without a twin among those that are judged on, and a Problem for each with one.

    A twin says the same (case aside), says almost the same unless `near_duplicates` is off, or has the same value in
    the column `group_by`.
    """
    kept, problems = leakage(examples, judged_on)
    if not kept or not judged_on:
        return kept, problems
    if options.near_duplicates:
        clusters = near_row_clusters([example.row for example in (*kept, *judged_on)]).tolist()
        judged = dict(zip(clusters[len(kept) :], judged_on, strict=True))
        twins = [judged.get(cluster) for cluster in clusters[: len(kept)]]
        kept = _without(kept, twins, "almost the same {what} is in {}, which the model is judged on", problems)
    if options.group_by is not None:
        groups = {group_of(example, options.group_by): example for example in judged_on}
        groups.pop(None, None)
        twins = [groups.get(group_of(example, options.group_by)) for example in kept]
        kept = _without(
            kept, twins, f"{{}}, which the model is judged on, has the same {excerpt(options.group_by)}", problems
        )
    return kept, problems


def _without(
    examples: Sequence[Example], twins: Sequence[Example | None], reason: str, problems: list[Problem]
) -> list[Example]:
    """The rows without a twin; the others join the problems."""
    kept = []
    for example, twin in zip(examples, twins, strict=True):
        if twin is None:
            kept.append(example)
        else:
            problems.append(
                Problem("data/leakage", reason.format(twin.origin, what=content_name(example.row)), example.origin)
            )
    return kept


def _synthetic(example: Example) -> bool:
    return example.provenance is Provenance.SYNTHETIC


def _split_off(rows: Mapping[Split, list[Example]], options: DataOptions, seed: int) -> tuple[Parts, list[Problem]]:
    """The three parts: those with a file of their own as they are, the others split off train."""
    validation_ratio = 0.0 if Split.VALIDATION in rows else options.resolved_validation_ratio
    test_ratio = 0.0 if Split.TEST in rows else options.test_ratio
    if not validation_ratio + test_ratio:
        return dict(rows), []
    train, times, untimed = rows[Split.TRAIN], None, list[Problem]()
    if options.time_column is not None:
        column = options.time_column
        train, times, untimed = timed(train, [example.extra.get(column) for example in train], column)
        check_bad_rows(untimed, len(rows[Split.TRAIN]), options.max_bad_ratio)
    clusters = None
    if options.near_duplicates:
        clusters = near_row_clusters([example.row for example in train]).tolist()
    together = bundles(train, clusters=clusters, group_by=options.group_by)
    parts = split(train, validation_ratio, test_ratio, seed, together=together, times=times)
    return {part: parts[part] if part is Split.TRAIN else rows.get(part, parts[part]) for part in Split}, untimed


def timed(
    examples: Sequence[Example], values: Sequence[object], column: str
) -> tuple[list[Example], list[float], list[Problem]]:
    """The rows with a readable time, these times, and a Problem for each other row.

    A column holds dates or numbers; when it holds both, the rarer kind is unreadable.
    """
    moments = [moment(value) for value in values]
    kinds = Counter(kind for kind, _ in filter(None, moments))
    usual = max(sorted(kinds), key=kinds.__getitem__, default="date")
    kept, times, problems = [], [], []
    for example, value, found in zip(examples, values, moments, strict=True):
        if found is not None and found[0] == usual:
            kept.append(example)
            times.append(found[1])
        else:
            shown = excerpt("" if value is None else str(value))
            reason = f"the time is no {usual}" if shown.strip() else "the time is missing"
            problems.append(Problem("data/bad-time", reason, example.origin, column=column, excerpt=shown))
    return kept, times, problems


def moment(value: object) -> tuple[str, float] | None:
    """("number", the number) or ("date", seconds since 1970; UTC unless it says otherwise); None for anything else.

    >>> moment("2026-01-31T12:00:00Z"), moment("17"), moment("soon")
    (('date', 1769860800.0), ('number', 17.0), None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
        return ("number", number) if math.isfinite(number) else None
    except (ValueError, OverflowError):
        pass
    try:
        date = datetime.datetime.fromisoformat(str(value).strip())
        return "date", (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
