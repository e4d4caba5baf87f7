"""Gates: what a tuned model must not have lost, whatever it gained; a model that a gate stops is not promoted.

The verdict says whether the model is better at its task. A gate says whether something else broke on the way. Gates
stand in evaluation.json as a list, in the order they were judged; the model is saved either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Gate:
    """One thing that must hold before a model is promoted.

    Attributes:
        name: "forgetting", "groups"...
        passed: whether the model may be promoted as far as this gate is concerned.
        reason: one sentence with the numbers it rests on.
        advice: what to do when it did not pass, one or two sentences; empty when it did.
        figures: the numbers themselves, as JSON has them.
    """

    name: str
    passed: bool
    reason: str
    advice: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def with_gate(evaluation: Mapping[str, Any], gate: Gate) -> dict[str, Any]:
    """evaluation.json's content with one gate more; one that did not pass speaks first in the verdict's advice."""
    gates = [*evaluation.get("gates", []), gate.as_dict()]
    if gate.passed:
        return {**evaluation, "gates": gates}
    verdict = evaluation["verdict"]
    before = verdict["advice"] if stopped_by(evaluation) else f"For its task alone: {verdict['advice']}"
    advice = f"Do not promote the tuned model: {gate.reason} {gate.advice}".rstrip()
    return {**evaluation, "gates": gates, "verdict": {**verdict, "advice": f"{advice} {before}"}}


def stopped_by(evaluation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The gates that did not pass."""
    return [gate for gate in evaluation.get("gates", []) if not gate["passed"]]
