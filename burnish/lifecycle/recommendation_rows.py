"""What rows of choices become: histories with what came next, and the search that judges recommendations."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from burnish.data.interactions import chosen_before, history_text, item_of
from burnish.errors import DataProblemError
from burnish.evaluation.choices import Choices
from burnish.types import Example, Split

Splits = Mapping[Split, Sequence[Example]]


def histories(splits: Splits, part: Split) -> list[Example]:
    """{"user", "anchor": the history, "positive": what came next} of each row of a part that has a past."""
    return [
        dataclasses.replace(example, row=_next_choice(example, before))
        for index, before in chosen_before(splits, part)
        for example in (splits[part][index],)
    ]


def _next_choice(example: Example, before: Sequence[str]) -> dict[str, str]:
    return {"user": example.row["user"], "anchor": history_text(before), "positive": item_of(example.row)}


def catalogue(splits: Splits) -> list[str]:
    """All items of the training rows, each once: what is recommended."""
    return list(dict.fromkeys(item_of(example.row) for example in splits[Split.TRAIN]))


def sequences(splits: Splits) -> list[list[str]]:
    """The training items of each user, in the order of their times."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for example in splits[Split.TRAIN]:  # which leave_last_out has put in order
        found[example.row["user"]].append(item_of(example.row))
    return list(found.values())


def choices_of(splits: Splits, part: Split) -> Choices:
    """The histories of a part, which search the items of the training rows for what came next.

    Raises:
        DataProblemError: [data/no-pairs] when no row has a past and an item that can be found.
    """
    documents = catalogue(splits)
    number = {item: index for index, item in enumerate(documents)}
    rows = splits[part]
    judged = [(index, before) for index, before in chosen_before(splits, part) if item_of(rows[index].row) in number]
    if not judged:
        raise DataProblemError(
            "data/no-pairs",
            f"none of the {part.value} rows is a next choice of a user and an item of the training rows: there is "
            "nothing to find",
            where=str(rows[0].origin),
            hint="give rows of users that the training rows hold",
        )
    return Choices(
        queries=[history_text(before) for _, before in judged],
        documents=documents,
        relevant=[np.array([number[item_of(rows[index].row)]]) for index, _ in judged],
        itself=[np.array([number[item] for item in before if item in number], np.int64) for _, before in judged],
        rows=[index for index, _ in judged],
        last=[number.get(before[-1]) for _, before in judged],
    )
