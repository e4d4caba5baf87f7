"""What to do with a data set: numbers in, one answer and its reasons out. No files, no models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from burnish.errors import excerpt
from burnish.evaluation import wording
from burnish.evaluation.arm_words import ARMS, words_for
from burnish.evaluation.compare import Difference
from burnish.evaluation.learning_curve import Point

FEW_OF_A_CLASS = 8  # training rows; with fewer, one row more or less moves what is learned of the class
FEW_ROWS = 40  # training rows in all, of any task
ENDPOINT = "endpoint"
PROMPTS = ("base", "base-few-shot")  # arms that are asked and not trained
NOTHING_LEARNED = ("majority", "mean", "no-answer", "popularity", "length")  # arms that do not look at the row
# A rehearsal that took a share c of the steps has shown at least this part of the gain of all steps: 1 of all of them,
# half of the first few.
SHOWN_AT_ONCE = 0.5
ENOUGH_STEPS = 0.25  # share of a training from which on a rehearsal without a gain makes sure that there is none


class Course(StrEnum):
    FINE_TUNE = "fine-tune"
    PROMPT = "prompt"
    CLASSIC = "use a classic baseline"
    MORE_DATA = "get more data"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured, on rows that validate; no test row was looked at.

    Attributes:
        metric: the one that the verdict would rest on.
        minimum_effect: smallest gain worth having, in the metric's unit.
        arms: value of every arm that needs no fine-tuning.
        tuned: value of the rehearsed model.
        gain: how much better the rehearsed model is than `strongest`, oriented so that more is better.
        strongest: the arm with the best value.
        share_of_steps: of a whole training that the rehearsal took, 0..1.
        train_rows: in all, not only those of the rehearsal.
        class_rows: training rows of each class; empty without classes.
        doubling: what twice the rows would bring the strongest arm, oriented so that more is better; None: unknown.
        asked: how much better the endpoint is than the better of `strongest` and the rehearsed model, on the rows it
            was asked; None: none was.
        disagreeing: share of rows whose nearest neighbour has another label; None: unknown.
    """

    metric: str
    minimum_effect: float
    arms: Mapping[str, Point]
    tuned: Point
    gain: Difference
    strongest: str
    share_of_steps: float
    train_rows: int
    class_rows: Mapping[str, int] = field(default_factory=dict)
    doubling: Point | None = None
    asked: Difference | None = None
    disagreeing: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer, how sure it is, and why.

    Attributes:
        use: the arm to use, or None where a model is to be tuned or rows are to be got first.
        sure: "sure": the interval of the gain speaks for it alone, and against tuning the rehearsal was long enough;
            "likely": its middle does; "open": neither, and what is cheaper is advised.
        expected_gain: of a whole training over the strongest arm, in the metric's unit.
        rows_wanted: rows to get of each class, or of all under "".
    """

    answer: Course
    use: str | None
    sure: str
    expected_gain: float
    reasons: tuple[str, ...]
    rows_wanted: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        return {
            "answer": str(self.answer),
            "use": self.use,
            "sure": self.sure,
            "expected_gain": self.expected_gain,
            "reasons": list(self.reasons),
            "rows_wanted": dict(self.rows_wanted),
        }


def advise(facts: Facts) -> Advice:
    """The course that these numbers speak for.

    get more data           a class has under FEW_OF_A_CLASS rows or all together under FEW_ROWS; or nothing that looks
                            at the rows beats what does not by a gain worth having
    fine-tune               the gain to be expected of a whole training is worth having
    prompt                  the endpoint is better than all of them by a gain worth having, and its interval says so
    prompt, classic         otherwise: the cheapest arm within a gain worth having of the strongest

    The gain to be expected is the rehearsal's, raised for the steps that it left out; a loss is not turned into a gain.
    """
    expected = _expected(facts)
    wanted = _rows_wanted(facts)
    if wanted:
        answer, use, sure = Course.MORE_DATA, None, "sure"
    elif _nothing_learned(facts):
        answer, use, sure, wanted = Course.MORE_DATA, None, "likely", {"": facts.train_rows}
    elif facts.asked is not None and facts.asked.low > 0 and facts.asked.value >= facts.minimum_effect:
        answer, use, sure = Course.PROMPT, ENDPOINT, "sure"
    elif expected >= facts.minimum_effect:
        answer, use = Course.FINE_TUNE, None
        sure = "sure" if facts.gain.low > 0 else "likely"
    else:
        use = _cheapest_as_good(facts)
        asked = "base-few-shot" in facts.arms  # elsewhere "base" is a base whose vectors are used as they come
        answer = Course.PROMPT if asked and use in PROMPTS else Course.CLASSIC
        ruled_out = facts.gain.high < facts.minimum_effect and facts.share_of_steps >= ENOUGH_STEPS
        sure = "sure" if ruled_out else "likely" if facts.gain.value <= 0 else "open"
    return Advice(answer, use, sure, expected, tuple(_reasons(facts, answer, use, expected, wanted)), wanted)


def _expected(facts: Facts) -> float:
    shown = SHOWN_AT_ONCE + (1 - SHOWN_AT_ONCE) * facts.share_of_steps
    return facts.gain.value / shown if facts.gain.value > 0 else facts.gain.value


def _rows_wanted(facts: Facts) -> dict[str, int]:
    """Rows that are missing before anything can be said; of each class, or of all under ""."""
    missing = {label: FEW_OF_A_CLASS - rows for label, rows in facts.class_rows.items() if rows < FEW_OF_A_CLASS}
    if not missing and facts.train_rows < FEW_ROWS:
        return {"": FEW_ROWS - facts.train_rows}
    return dict(sorted(missing.items(), key=lambda item: (-item[1], item[0])))


def _nothing_learned(facts: Facts) -> bool:
    """Whether neither the rehearsal nor any arm that looks at the rows is better than one that does not."""
    blind = [name for name in facts.arms if name in NOTHING_LEARNED]
    return facts.strongest in blind and facts.gain.value < facts.minimum_effect


def _cheapest_as_good(facts: Facts) -> str:
    """The arm that is cheapest to run among those within a gain worth having of the strongest."""
    sign = -1.0 if facts.metric in wording.ERRORS else 1.0
    best = sign * facts.arms[facts.strongest].value
    cost = {name: rank for rank, name in enumerate(ARMS)}
    near = [name for name, arm in facts.arms.items() if sign * arm.value >= best - facts.minimum_effect]
    looking = [name for name in near if name not in NOTHING_LEARNED] or near
    return min(looking, key=lambda name: cost.get(name, len(cost)))


def _reasons(facts: Facts, answer: Course, use: str | None, expected: float, wanted: Mapping[str, int]) -> list[str]:
    """A sentence with its numbers for everything that the answer rests on."""
    strongest, n = facts.arms[facts.strongest], facts.gain.n
    title = wording.metric_title(facts.metric)
    shown = [
        f"Without fine-tuning, {words_for(facts.strongest).title} is best: {title} "
        f"{_value(strongest, facts.metric)}, n = {n:,}.",
        f"A rehearsal of {facts.share_of_steps:.0%} of the training reaches {_value(facts.tuned, facts.metric)}: "
        f"{_difference(facts.gain, facts.metric)} against it; a gain of {_size(facts.minimum_effect, facts.metric)} "
        "is worth having.",
    ]
    if expected > 0 and facts.share_of_steps < 1:
        shown.append(f"Of the whole training a gain of {_size(expected, facts.metric)} can be expected.")
    if answer is Course.MORE_DATA and wanted:
        shown.insert(0, _wanted_in_words(facts, wanted))
    if facts.asked is not None:
        shown.append(
            f"The endpoint, asked with examples, is {_difference(facts.asked, facts.metric)} against the better of the "
            f"two, n = {facts.asked.n:,}."
        )
    if use not in (None, ENDPOINT, facts.strongest):
        title = words_for(str(use)).title
        shown.append(f"{title[0].upper()}{title[1:]} is cheaper and nearly as good.")
    if facts.doubling is not None:
        gain = _difference(facts.doubling, facts.metric)
        shown.append(f"Twice the rows would bring it {gain}, by the law through its own learning curve.")
    if facts.disagreeing is not None:
        shown.append(
            f"{facts.disagreeing:.1%} of the rows have a nearest neighbour with another label: classes that overlap, "
            "or labels that are wrong."
        )
    return shown


def _wanted_in_words(facts: Facts, wanted: Mapping[str, int]) -> str:
    if "" not in wanted:
        named = ", ".join(f'{rows} of "{excerpt(label)}"' for label, rows in list(wanted.items())[:5])
        more = f" and of {len(wanted) - 5} other classes" if len(wanted) > 5 else ""
        return f"Get at least {named}{more} more: with under {FEW_OF_A_CLASS} training rows a class is not learned."
    if facts.train_rows < FEW_ROWS:
        return f"{facts.train_rows:,} training rows are too few: get at least {wanted['']:,} more."
    return "Nothing that looks at the rows beats what does not: get other rows, or columns that hold the answer."


def _value(point: Point, metric: str) -> str:
    return f"{_plain(point.value, metric)} [{_plain(point.low, metric)}, {_plain(point.high, metric)}]"


def _difference(gain: Difference | Point, metric: str) -> str:
    if wording.is_share(metric):
        return f"{100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return f"{gain.value:+.3g} [{gain.low:+.3g}, {gain.high:+.3g}]"


def _plain(value: float, metric: str) -> str:
    return f"{100 * value:.1f} %" if wording.is_share(metric) else f"{value:.3g}"


def _size(effect: float, metric: str) -> str:
    return f"{100 * effect:.1f} points" if wording.is_share(metric) else f"{effect:.3g}"
