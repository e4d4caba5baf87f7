"""What would make a model better: more rows, cleaner labels, longer training, or a base that can do more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from burnish.evaluation import wording
from burnish.evaluation.learning_curve import Point

WIDE = 5  # gains worth having between training rows and others: what was learned by heart does not carry over


class Lever(StrEnum):
    MORE_DATA = "more data"
    LONGER = "longer training"
    BIGGER = "a bigger base, or one that is tuned"
    CLEANER = "cleaner labels"
    NONE = "nothing that was looked at"


@dataclass(frozen=True, slots=True)
class Symptoms:
    """What the last point of a curve shows.

    Attributes:
        metric: the one that decides.
        minimum_effect: smallest gain worth having, in its unit.
        doubling: what twice the rows would bring, oriented so that more is better.
        learned: value on training rows; None: unknown.
        reached: value on the rows that are judged on.
        still_rising: whether the last evaluation of the training was its best; None: it takes no steps.
        method: "head", "lora", "full"...
    """

    metric: str
    minimum_effect: float
    doubling: Point
    learned: float | None
    reached: float
    still_rising: bool | None
    method: str


def find_lever(symptoms: Symptoms) -> tuple[Lever, str]:
    """The first lever that the symptoms speak for, and the sentence with its numbers.

    more data        twice the rows are worth having, by the law
    longer training  the last evaluation was the best
    a bigger base    the training rows themselves are not fitted
    cleaner labels   they are, and the others stay far behind although more rows bring nothing: what is learned of
                     each row does not hold for its neighbours

    Source: the order is that of Ng, Machine Learning Yearning, chapters 28 to 32: bias is read off the training rows,
    variance off the distance to the others, and more rows help against variance alone.
    """
    doubling, sign = symptoms.doubling, -1.0 if symptoms.metric in wording.ERRORS else 1.0
    shown = f"twice the rows would bring {_gain(doubling, symptoms.metric)}"
    if doubling.value >= symptoms.minimum_effect:
        return Lever.MORE_DATA, f"The curve still rises: {shown}."
    flat = f"The curve is flat: {shown}."
    if symptoms.still_rising:
        return Lever.LONGER, f"{flat} The last evaluation of the training was its best: it stopped too early."
    if symptoms.learned is None:
        return Lever.NONE, flat
    distance = sign * (symptoms.learned - symptoms.reached)
    unfitted = 1.0 - symptoms.learned if sign > 0 else symptoms.learned
    on_both = (
        f"On training rows it reaches {_value(symptoms.learned, symptoms.metric)}, on others "
        f"{_value(symptoms.reached, symptoms.metric)}."
    )
    if distance >= WIDE * symptoms.minimum_effect:
        return Lever.CLEANER, f"{flat} {on_both} What is learned by heart does not carry over: look at the labels."
    if unfitted >= WIDE * symptoms.minimum_effect:
        instead = " `method: head` leaves the base as it is." if symptoms.method == "head" else ""
        return Lever.BIGGER, f"{flat} {on_both} Even its own rows are not learned.{instead}"
    return Lever.NONE, f"{flat} {on_both}"


def _gain(gain: Point, metric: str) -> str:
    scale, unit = (100.0, " points") if wording.is_share(metric) else (1.0, "")
    return f"{scale * gain.value:+.3g}{unit} [{scale * gain.low:+.3g}, {scale * gain.high:+.3g}]"


def _value(value: float, metric: str) -> str:
    return f"{value:.1%}" if wording.is_share(metric) else f"{value:.3g}"
