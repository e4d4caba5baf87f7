"""Rows for the doctor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from burnish.data.doctor.finding import Subject
from burnish.types import Example, Origin

Make = Callable[..., Subject]


@pytest.fixture
def subject() -> Make:
    """Makes a subject: rows as dicts, or texts and labels; the first row stands on line 2 of rows.csv."""

    def make(rows: Sequence[Any], labels: Sequence[str] | None = None) -> Subject:
        found = [{"text": row} if isinstance(row, str) else row for row in rows]
        if labels is not None:
            found = [{**row, "label": label} for row, label in zip(found, labels, strict=True)]
        return Subject.of([Example(row, Origin("rows.csv", line)) for line, row in enumerate(found, start=2)])

    return make
