"""The verdict: is the tuned model better than the strongest arm that needs no fine-tuning, and what to do now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from burnish.errors import excerpt
from burnish.evaluation.arm_words import ARMS, words_for
from burnish.evaluation.compare import Difference

SIGNIFICANT = 0.05
RULE_OF_THREE = 3  # n rows without an event leave, at 95 %, events of share up to 3 / n
DISCORDANT_AT_LEAST = 6  # rows: with five, even 5 to 0 has an exact two-sided p-value of 0.0625


class Answer(StrEnum):
    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    TOO_LITTLE_DATA = "too little data"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, the numbers it rests on, and one or two sentences on what to do.

    Attributes:
        against: name of the strongest arm that needs no fine-tuning, chosen on validation.
        difference: how much better tuned is than `against` on the test rows, in the metric's unit: metric(tuned) -
            metric(against), or its negative where lower is better; low and high are its 95 % interval.
        p_value: two-sided, of a test of this metric.
        test: which one: "McNemar", exact, of a share of rows that are right; "permutation" of any other metric.
        n: test rows.
        minimum_effect: smallest difference worth having, from the recipe.
    """

    answer: Answer
    metric: str
    against: str
    difference: float
    low: float
    high: float
    p_value: float
    test: str
    n: int
    minimum_effect: float
    advice: str

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "answer": str(self.answer)}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict is made of.

    Attributes:
        differences: tuned minus arm for every arm, on the same test rows, oriented so that more is better.
        test: what gave the p-value, as `Verdict.test`.
        discordant: test rows that tuned and `against` answer differently well.
        weakest_class: label and F1 of the tuned model's weakest class; None where there are no classes.
        head: whether the task has a method that trains a head alone.
    """

    metric: str
    against: str
    differences: Mapping[str, Difference]
    p_value: float
    test: str
    discordant: int
    minimum_effect: float
    method: str
    weakest_class: tuple[str, float] | None
    head: bool = True


def decide(evidence: Evidence) -> Verdict:
    """The verdict of this evidence.

    better           the interval lies above 0 and the difference is worth having
    worse            the same below 0
    same             a gain worth having is ruled out, or the difference is real but too small to be worth having
    too little data  anything else: neither a gain worth having nor its absence is shown

    An interval of very few rows may be too sure of itself, so two classical checks stand beside it. `better` and
    `worse` need the test of the metric to agree and six discordant rows.
    Ruling a gain out needs 3 / minimum_effect rows: with fewer, not even perfect agreement does it (rule of three,
    Hanley and Lippman-Hand 1983, JAMA 249:1743-1745).
    """
    d = evidence.differences[evidence.against]
    answer = answer_of(
        d,
        tested=evidence.p_value < SIGNIFICANT,
        discordant=evidence.discordant,
        minimum_effect=evidence.minimum_effect,
    )
    return Verdict(
        answer=answer,
        metric=evidence.metric,
        against=evidence.against,
        difference=d.value,
        low=d.low,
        high=d.high,
        p_value=evidence.p_value,
        test=evidence.test,
        n=d.n,
        minimum_effect=evidence.minimum_effect,
        advice=_advice(answer, d, evidence),
    )


def answer_of(d: Difference, *, tested: bool, discordant: int, minimum_effect: float) -> Answer:
    """The rule of `decide` for one difference.

    Args:
        tested: whether the test of the metric agrees.
        discordant: rows that tell the two apart.
    """
    sure = tested and discordant >= DISCORDANT_AT_LEAST
    if sure and d.low > 0:
        return Answer.BETTER if d.value >= minimum_effect else Answer.SAME
    if sure and d.high < 0:
        return Answer.WORSE if d.value <= -minimum_effect else Answer.SAME
    ruled_out = d.high < minimum_effect and d.n >= RULE_OF_THREE / minimum_effect
    return Answer.SAME if ruled_out else Answer.TOO_LITTLE_DATA


def _advice(answer: Answer, d: Difference, evidence: Evidence) -> str:
    if answer is Answer.BETTER and evidence.weakest_class is None:
        return "Use the tuned model. Read its worst answers in the report: more and cleaner training rows help there."
    if answer is Answer.BETTER and evidence.weakest_class is not None:
        label, f1 = evidence.weakest_class
        return (
            f'Use the tuned model. Its weakest class is "{excerpt(label)}" (F1 {f1:.1%}): '
            "more and cleaner training rows help most there."
        )
    if answer is Answer.TOO_LITTLE_DATA:
        meanwhile = (
            f"On these rows {evidence.against}, which needs no fine-tuning, is at least as good: use it until then. "
            if d.value <= 0 and evidence.against in ARMS
            else ""
        )
        return (
            f"{meanwhile}About {rows_needed(d, evidence.minimum_effect):,} test rows would settle it; "
            f"there are {d.n:,}. "
            "Add rows, or raise `evaluation.minimum_effect` if only a larger gain is worth having."
        )
    instead = _cheapest_of_the_best(evidence) if answer is Answer.WORSE else _cheapest_as_good(evidence)
    if instead == "base-probe" and evidence.method == "head":
        return (
            "`method: head` trains a linear classifier on the frozen base model, which is what base-probe is: "
            "no difference is to be expected. Keep it as it is, or write `method: lora` to train the base model too."
        )
    words = words_for(instead)
    advice = words.instead if evidence.head else words.headless or words.instead
    advice = advice.format(good=_how_good(evidence.differences[instead]))
    return f"Do not use the tuned model. {advice}" if answer is Answer.WORSE else advice


def _cheapest_as_good(evidence: Evidence) -> str:
    """The arm that is cheapest to run among those over which the gain is not both shown and worth having."""
    cost = {name: rank for rank, name in enumerate(ARMS)}
    as_good = [name for name, d in evidence.differences.items() if d.low <= 0 or d.value < evidence.minimum_effect]
    return min(as_good or [evidence.against], key=lambda name: cost.get(name, len(cost)))


def _cheapest_of_the_best(evidence: Evidence) -> str:
    """The arm that is cheapest to run among those within `minimum_effect` of the strongest on the test rows."""
    cost = {name: rank for rank, name in enumerate(ARMS)}
    limit = evidence.differences[evidence.against].value + evidence.minimum_effect
    best = [name for name, d in evidence.differences.items() if d.value <= limit]
    return min(best, key=lambda name: cost.get(name, len(cost)))


def _how_good(d: Difference) -> str:
    """How an arm compares with the tuned model that is `d` better than it."""
    if d.low > 0:
        return "nearly as good"
    return "better" if d.high < 0 else "as good"


def rows_needed(d: Difference, minimum_effect: float) -> int:
    """Roughly the test rows whose interval reaches no further than `minimum_effect` to each side; two leading digits.

    The half-width of an interval shrinks with the square root of the number of rows.
    """
    half_width = (d.high - d.low) / 2
    rows = max(d.n * (half_width / minimum_effect) ** 2, RULE_OF_THREE / minimum_effect)
    if rows <= d.n:  # narrow enough, but on too few rows that tell the two apart
        rows = 2 * d.n
    unit = int(10 ** max(0, math.floor(math.log10(rows)) - 1))
    return math.ceil(rows / unit) * unit
