"""Two models of equal standing on the same rows: which one is better, by how much, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation import wording
from burnish.evaluation.answered import Answered, Key
from burnish.evaluation.compare import Difference, compared, row_wins
from burnish.evaluation.metrics.resampling import measured
from burnish.evaluation.verdict import SIGNIFICANT, Answer, answer_of, rows_needed
from burnish.types import Metric

EXAMPLES = 20  # rows that the two answer differently


def side_by_side(
    metrics: Sequence[Metric],
    a: Answered,
    b: Answered,
    keys: Sequence[Key],
    *,
    names: tuple[str, str],
    minimum_effect: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """What is to be said of A and B on these rows, as it is written to JSON.

    Args:
        metrics: empty ones; the first decides, the others are looked at beside it.
        keys: of rows that both answered.
        names: of A and of B.

    Returns:
        {"n", "metric", "models": {"a", "b"}: each metric's value, n and interval, "difference": of the deciding
        metric, A over B, "comparisons": of the other metrics, "wins": rows won by A and by B, "answer": Answer from A's
        point of view, "sentence", "rows": some that differ}.
    """
    references = [a.references[key] for key in keys]
    first, second = ([side.answers[key] for key in keys] for side in (a, b))
    decider = metrics[0]
    draws = {"resamples": resamples, "seed": seed}
    (found,) = compared([decider], references, first, second, **draws)
    del found["p_holm"]
    wins, losses = row_wins(decider, references, first, second)
    d = Difference(found["difference"], found["low"], found["high"], found["n"])
    answer = answer_between(
        d, tested=found["p_value"] < SIGNIFICANT, discordant=wins + losses, minimum_effect=minimum_effect
    )
    return {
        "n": len(keys),
        "metric": decider.name,
        "minimum_effect": minimum_effect,
        "answer": str(answer),
        "sentence": sentence(answer, found, d, names, minimum_effect),
        "difference": found,
        "comparisons": compared(metrics[1:], references, first, second, **draws),
        "wins": {"a": wins, "b": losses},
        "models": {
            side: {metric.name: measured(metric, references, answers).as_dict() for metric in metrics}
            for side, answers in (("a", first), ("b", second))
        },
        "rows": differing(decider, a, b, keys),
    }


def answer_between(d: Difference, *, tested: bool, discordant: int, minimum_effect: float) -> Answer:
    """The rule of a verdict for two models of which neither is the cheaper one.

    A verdict says `same` when a gain is ruled out; here a loss has to be ruled out too, or the difference has to be
    real and too small to be worth having.
    """
    answer = answer_of(d, tested=tested, discordant=discordant, minimum_effect=minimum_effect)
    if answer is Answer.SAME and d.low <= -minimum_effect and not (tested and d.high < 0):
        return Answer.TOO_LITTLE_DATA
    return answer


def sentence(
    answer: Answer, found: Mapping[str, Any], d: Difference, names: tuple[str, str], minimum_effect: float
) -> str:
    """The answer in one or two sentences."""
    metric, (a, b) = found["metric"], names
    by = f"by {wording.signed(metric, abs(d.value)).removeprefix('+')} {wording.metric_title(metric)}"
    least = wording.signed(metric, minimum_effect).removeprefix("+")
    if answer is Answer.BETTER:
        return f"{a} is better than {b}, {by}."
    if answer is Answer.WORSE:
        return f"{b} is better than {a}, {by}."
    if answer is Answer.SAME:
        return f"No difference worth having: one of {least} or more is ruled out, or what there is is smaller."
    return f"Too little data to tell. About {rows_needed(d, minimum_effect):,} rows would; there are {d.n:,}."


def differing(metric: Metric, a: Answered, b: Answered, keys: Sequence[Key]) -> list[dict[str, Any]]:
    """Rows that the two answer differently, those first that only one of them answers well, in turns."""
    sorted_out: dict[str, list[dict[str, Any]]] = {"a": [], "b": [], "": []}
    for key in keys:
        one, other = a.answers[key], b.answers[key]
        if one == other:
            continue
        won = _winner(metric, a.references[key], one, other)
        row = {**a.shown[key], "a": a.said[key], "b": b.said[key], "better": won or None}
        sorted_out[won].append(row)
    turns = [row for pair in zip(sorted_out["a"], sorted_out["b"], strict=False) for row in pair]
    count = len(turns) // 2
    rest = [*sorted_out["a"][count:], *sorted_out["b"][count:], *sorted_out[""]]
    return [*turns, *rest][:EXAMPLES]


def _winner(metric: Metric, reference: Any, one: Any, other: Any) -> str:
    wins, losses = row_wins(metric, [reference], [one], [other])
    return "a" if wins else "b" if losses else ""
