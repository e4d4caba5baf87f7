"""Rows that say almost the same, and rows that say almost the same but have different labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from burnish.data.doctor.finding import ANSWER, INPUT, Array, Finding, Subject
from burnish.data.near_duplicates import comparable, jaccard

SHOWN = 20  # pairs in the details


def near_duplicates(subject: Subject) -> Iterator[Finding]:
    """Rows whose text overlaps with that of an earlier row by a Jaccard index of 0.8 or more, or that show the same."""
    if INPUT not in subject.used_roles and not subject.shows_images:
        return
    groups = _groups(subject.clusters)
    if not groups:
        return
    again = [row for group in groups for row in group[1:]]
    largest = max(map(len, groups))
    details = [_pair(subject, group[0], group[1]) for group in groups[:SHOWN]]
    yield subject.finding(
        "data/near-duplicate",
        "warning",
        again,
        f"{_verb(subject)} almost the same as an earlier row; {len(groups):,} groups, the largest of {largest:,} rows",
        "`data: {clean: {near_duplicates: true}}` trains on one row of each group; a group stays in one part of the "
        "data anyway",
        details=details,
    )
    yield from _conflicts(subject, groups)


def _groups(clusters: Array) -> list[list[int]]:
    """Clusters of two rows or more, rows in order."""
    order = np.argsort(clusters, kind="stable")
    cuts = np.flatnonzero(np.diff(clusters[order])) + 1
    return [group.tolist() for group in np.split(order, cuts) if len(group) > 1]


def _verb(subject: Subject) -> str:
    return "show" if subject.shows_images else "say"


def _pair(subject: Subject, first: int, second: int) -> str:
    if subject.shows_images:
        return f"{subject.place(first)} ~ {subject.place(second)}"
    (index,) = jaccard([comparable(subject.contents[first])], [comparable(subject.contents[second])])
    return f"{subject.place(first)} ~ {subject.place(second)} ({index:.2f})"


def _conflicts(subject: Subject, groups: list[list[int]]) -> Iterator[Finding]:
    """Near-duplicate rows that do not agree on the label."""
    if subject.labels is None:
        return
    rows: list[int] = []
    details = []
    for group in groups:
        labels = {subject.labels[row]: row for row in reversed(group)}
        if len(labels) > 1:
            rows += group
            first, second, *_ = sorted(labels.values())
            shown = f"{subject.labels[first]} / {subject.labels[second]}"
            details.append(f"{subject.place(first)} ~ {subject.place(second)}: {shown}")
    if rows:
        yield subject.finding(
            "data/near-conflict",
            "warning",
            rows,
            f"{_verb(subject)} almost the same but have different labels: at least one label of each group is wrong, "
            "or the difference is small",
            "look at the pairs and correct the labels",
            details=details[:SHOWN],
        )


def repeated_inputs(subject: Subject) -> Iterator[Finding]:
    """The same input with different answers: several good answers, or a contradiction."""
    if not {INPUT, ANSWER} <= subject.used_roles:
        return
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(subject.inputs):
        rows_of[comparable(text)].append(row)
    answers = subject.joined(ANSWER)
    groups = [rows for text, rows in rows_of.items() if text and len({answers[row] for row in rows}) > 1]
    if groups:
        yield subject.finding(
            "data/repeated-input",
            "info",
            (row for group in groups for row in group),
            f"share their input with another row but not its answer; {len(groups):,} inputs",
            "fine when several answers are right; keep the rows of one input in one part of the data",
            details=[" ~ ".join(map(subject.place, group[:3])) for group in groups[:SHOWN]],
        )
