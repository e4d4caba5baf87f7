"""Who chose what and when: each user's choices in order, the parts that are made of them, and what came before each.

A choice is known by the title of what was chosen, where the rows have titles, else by the item's id: things of one
title are one item.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from burnish.data.clean import check_bad_rows
from burnish.data.parts import moment, timed
from burnish.errors import DataProblemError
from burnish.types import Example, Problem, Provenance, Row, Split

HISTORY = 10  # choices before the moment that are read, the newest ones
SEPARATOR = "; "
_SHORTEST = 3  # choices of a user whose last ones are judged on: one is learned from, one validates, one tests
_BEFORE = {Split.TRAIN: (), Split.VALIDATION: (Split.TRAIN,), Split.TEST: (Split.TRAIN, Split.VALIDATION)}


def item_of(row: Row) -> str:
    """What was chosen, as a text."""
    return str(row.get("title") or row["item"])


def history_text(items: Sequence[str]) -> str:
    """The last HISTORY items of those chosen one after the other, newest first: what an encoder cuts is the oldest.

    >>> history_text(["bread", "butter", "jam"])
    'jam; butter; bread'
    """
    return SEPARATOR.join(items[: -HISTORY - 1 : -1])


def leave_last_out(
    examples: Sequence[Example], *, max_bad_ratio: float
) -> tuple[dict[Split, list[Example]], dict[Split, list[Problem]]]:
    """The last choice of each user tests, the one before it validates, all others are learned from.

    Users with fewer than three choices are learned from alone. Of choices at one time the earlier row comes first. An
    item that a user chose before is no choice again. What no training row holds cannot be recommended, so nobody is
    judged on it. Synthetic rows only train.

    Args:
        max_bad_ratio: share of rows without a readable time that is tolerated, 0..1.

    Returns:
        The rows of each part in the order of their times, and a Problem for each row left out.

    Raises:
        DataProblemError: [data/too-many-bad-rows]; [data/too-few-choices] when nothing is left to judge on.
    """
    kept, times, untimed = timed(examples, [example.row["time"] for example in examples], "time")
    check_bad_rows(untimed, len(examples), max_bad_ratio)
    ordered = [kept[index] for index in sorted(range(len(kept)), key=times.__getitem__)]
    first, repeated = _first_choices(ordered)
    last = _last_choices(first)
    parts: dict[Split, list[Example]] = {part: [] for part in Split}
    for example in first:
        parts[last.get(id(example), Split.TRAIN)].append(example)
    known = {item_of(example.row) for example in parts[Split.TRAIN]}
    problems = {Split.TRAIN: [*untimed, *repeated]}
    reason = "no training row holds this item, so it is not among those that are recommended"
    for part in (Split.VALIDATION, Split.TEST):
        strange = [example for example in parts[part] if item_of(example.row) not in known]
        problems[part] = [Problem("data/unknown-item", reason, example.origin) for example in strange]
        parts[part] = [example for example in parts[part] if item_of(example.row) in known]
    if not (parts[Split.VALIDATION] and parts[Split.TEST]):
        raise DataProblemError(
            "data/too-few-choices",
            f"no user of {len(examples):,} rows has {_SHORTEST} different items whose last ones others chose too: "
            "nothing can be judged",
            hint="give more rows of each user and item; do the columns user and item name the right ones?",
        )
    return parts, problems


def _first_choices(ordered: Sequence[Example]) -> tuple[list[Example], list[Problem]]:
    """The first row of each user and item, and a Problem for each later one."""
    chosen: dict[tuple[str, str], Example] = {}
    repeated = []
    for example in ordered:
        before = chosen.setdefault((example.row["user"], item_of(example.row)), example)
        if before is not example:
            reason = f"the user chose this in {before.origin} already; what is known is not recommended"
            repeated.append(Problem("data/repeated-choice", reason, example.origin))
    return list(chosen.values()), repeated


def _last_choices(ordered: Sequence[Example]) -> dict[int, Split]:
    """By identity of the example: the part of each user's last two choices."""
    of_user: defaultdict[str, list[Example]] = defaultdict(list)
    for example in ordered:
        if example.provenance is not Provenance.SYNTHETIC:
            of_user[example.row["user"]].append(example)
    long = [rows for rows in of_user.values() if len(rows) >= _SHORTEST]
    return {id(rows[-1]): Split.TEST for rows in long} | {id(rows[-2]): Split.VALIDATION for rows in long}


def chosen_before(splits: Mapping[Split, Sequence[Example]], part: Split) -> list[tuple[int, list[str]]]:
    """(number of the row, what its user chose before it, oldest first) of each row of a part that has a past.

    Before a training row lie training rows alone, of which the last HISTORY are given; before a validation row all
    training rows that are not newer, before a test row those of both. Rows that choose something again are left out.
    """
    past: defaultdict[str, dict[str, float]] = defaultdict(dict)  # user -> item -> when
    for earlier in _BEFORE[part]:
        for example in sorted(splits[earlier], key=_time):
            past[example.row["user"]].setdefault(item_of(example.row), _time(example))
    rows, found = splits[part], []
    for index in sorted(range(len(rows)), key=lambda index: _time(rows[index])):
        when, item, known = _time(rows[index]), item_of(rows[index].row), past[rows[index].row["user"]]
        before = [other for other, then in known.items() if then <= when] if _BEFORE[part] else list(known)[-HISTORY:]
        if before and item not in known:
            found.append((index, before))
        if part is Split.TRAIN:
            known[item] = when
    return sorted(found)


def _time(example: Example) -> float:
    found = moment(example.row["time"])
    return found[1] if found else math.inf
