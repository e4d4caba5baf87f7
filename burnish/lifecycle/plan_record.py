"""What a plan says beside its answer: the data, the rehearsal, arms on fewer rows, the cost, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.evaluation.advice import Advice, Course, Facts
from burnish.evaluation.learning_curve import Point
from burnish.lifecycle.forecast import Forecast
from burnish.lifecycle.rehearse import Rehearsed
from burnish.types import Split


def described_data(data: PreparedData, parts: Sequence[PreparedData], facts: Facts) -> dict[str, Any]:
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


def described_rehearsal(rehearsed: Sequence[Rehearsed], facts: Facts) -> dict[str, Any]:
    return {
        **as_dict(facts.tuned),
        "against": facts.strongest,
        "gain": {"value": facts.gain.value, "low": facts.gain.low, "high": facts.gain.high, "n": facts.gain.n},
        "steps": [found.training["steps"] for found in rehearsed],
        "share_of_steps": facts.share_of_steps,
        "seconds": sum(found.seconds for found in rehearsed),
    }


def described_curve(rehearsed: Sequence[Rehearsed], facts: Facts) -> dict[str, Any]:
    """The arms on fewer rows of the first fold, and what twice the rows would bring the strongest."""
    doubling = facts.doubling
    return {
        "points": [
            {"rows": of.train_rows, **{name: value.value for name, value in of.values.items()}}
            for of in rehearsed[0].fewer
        ],
        "doubling": None if doubling is None else {"value": doubling.value, "low": doubling.low, "high": doubling.high},
    }


def cost(rehearsed: Sequence[Rehearsed], facts: Facts, expected: Forecast | None) -> dict[str, Any]:
    """What the whole training will take on this machine, by the pace of the rehearsal, and as foreseen without it."""
    steps = rehearsed[0].training["steps"]
    seconds = rehearsed[0].training["training_seconds"]
    return {
        "training_seconds": round(seconds / facts.share_of_steps, 1) if steps else seconds,
        "peak_memory_bytes": max(found.peak_memory_bytes for found in rehearsed),
        "by": f"the pace of {steps} steps on this machine" if steps else "the rehearsal on this machine",
        "forecast": expected and {**expected.as_dict(), "said": expected.sentence()},
    }


def next_command(advice: Advice, source: str) -> str:
    if advice.answer is Course.MORE_DATA:
        return f"burnish check {source}"
    if advice.answer is Course.PROMPT:
        return "keep asking the model as it is; burnish train tells when tuning pays on more rows"
    if advice.use == "base-probe":
        return f"burnish train {source} --set method=head"
    if advice.use in (None, "trees"):
        return f"burnish train {source}"
    return f"use {advice.use}; it needs no training of weights. Prove it: burnish train {source}"


def as_dict(point: Point) -> dict[str, Any]:
    return {"value": point.value, "low": point.low, "high": point.high, "n": point.rows}
