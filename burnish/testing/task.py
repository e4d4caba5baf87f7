"""What must hold for every task: how it encodes, what it refuses, and that a prediction belongs to its row."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from burnish.engine.segments import own_attention
from burnish.testing.subject import Subject
from burnish.types import Encoded, Refusal, Row, Task

# Logits of unit vectors are scaled by 20, and float32 products over another number of rows differ from the sixth digit.
PREDICTION_TOLERANCE = 1e-3


def check_task(subject: Subject) -> None:
    """All checks of a task, one after the other."""
    for check in TASK_CHECKS:
        check(subject)


def check_declaration(subject: Subject) -> None:
    """The task names itself, its columns and its metrics, and the rows have those columns."""
    task = subject.task
    assert isinstance(task, Task), "a task has name, columns, metrics, decomposable, encode, loss and predict"
    assert task.metrics, "the first of metrics decides early stopping"
    for row in subject.rows:
        wrong = [name for name, kind in task.columns.items() if not isinstance(row.get(name), kind)]
        assert not wrong, f"{', '.join(wrong)} of {dict(row)} is not of the type that columns names"


def check_encoding(subject: Subject) -> None:
    """Every row gives ids, segments, targets and a weight that the engine can lay out, and the same at every call."""
    encoded = subject.encoded()
    for row, again in zip(encoded, subject.encoded(), strict=True):
        assert row.token_ids.dtype == np.int64, f"token_ids are {row.token_ids.dtype}, not int64"
        assert row.token_ids.ndim == 1, "token_ids are one row of tokens"
        assert min(row.segment_lengths) > 0, f"segments of {row.segment_lengths} tokens"
        tokens = row.length if row.pixels is not None else len(row.token_ids)
        assert sum(row.segment_lengths) == tokens, f"segments of {row.segment_lengths} of {tokens} tokens"
        assert math.isfinite(row.weight), f"a weight of {row.weight}"
        assert row.weight > 0, f"a weight of {row.weight}"
        assert row.truncated_tokens >= 0, f"{row.truncated_tokens} truncated tokens"
        _check_reads(row)
        assert np.array_equal(row.token_ids, again.token_ids), "a row is encoded differently the second time"
        assert np.array_equal(row.targets, again.targets), "a row has other targets the second time"
    assert len({row.targets.dtype for row in encoded}) == 1, "rows have targets of different types"
    assert len({row.read_positions is None for row in encoded}) == 1, "some rows name read positions and some do not"


def check_refusals(subject: Subject) -> None:
    """A row that cannot be learned from is refused with a code and a reason."""
    for row in subject.refused:
        result = subject.task.encode(row)
        assert isinstance(result, Refusal), f"{dict(row)} is not refused"
        assert "/" in result.code, f'"{result.code}" is no code like "task/no-tokens"'
        assert result.reason, f"{result.code} says no reason"


def check_predictions(subject: Subject) -> None:
    """One prediction for each row, as JSON, whatever its neighbours, the order of the rows and the padding."""
    model, layout = subject.build()
    rows = subject.encoded()
    together = subject.predict(model, rows, layout)
    assert len(together) == len(rows), f"{len(together)} predictions for {len(rows)} rows"
    json.dumps(together, allow_nan=False)
    assert_alike(subject.predict(model, rows[::-1], layout)[::-1], together, "in reverse order")
    alone = [subject.predict(model, [row], layout)[0] for row in rows]
    assert_alike(alone, together, "row by row")
    with own_attention(model):
        padded = subject.predict(model, rows, replace(layout, padded=True))
    assert_alike(padded, together, "padded")


def assert_alike(found: Sequence[Row], wanted: Sequence[Row], how: str) -> None:
    """The same predictions; numbers within the tolerance."""
    for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
        assert one.keys() == other.keys(), f"row {index} has other fields {how}: {sorted(one)}"
        for name, value in other.items():
            same = one[name] == value or _close(one[name], value)
            assert same, f"{name} of row {index} is {one[name]} {how}, not {value}"


def _close(found: Any, wanted: Any) -> bool:
    """Numbers, or lists and mappings of them, within the tolerance; anything else equal."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_close(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_close, found, wanted))
    limits = {"rel_tol": PREDICTION_TOLERANCE, "abs_tol": PREDICTION_TOLERANCE}
    return isinstance(wanted, float) and math.isclose(found, wanted, **limits)


def _check_reads(row: Encoded) -> None:
    if row.read_positions is not None:
        assert row.read_positions.dtype == np.int64, f"read_positions are {row.read_positions.dtype}, not int64"
        inside = (row.read_positions >= 0) & (row.read_positions < row.length)
        assert inside.all(), f"read_positions outside of the row's {row.length} tokens"


TASK_CHECKS = (check_declaration, check_encoding, check_refusals, check_predictions)
