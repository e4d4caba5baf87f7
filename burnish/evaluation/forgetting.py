"""What a tuned model forgot: its losses on probes against those of its base, probe by probe. No files, no models.

Each kind of probes stands for an ability, and is judged for itself: a model that learned to write verse foresees other
old-fashioned prose better too, which is no excuse for having lost its arithmetic. What the base does no better than
chance, it cannot forget.

Shapes: N probes, F ways to flip their signs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from burnish.evaluation.compare import Difference, paired_bootstrap, row_wins, sign_test
from burnish.evaluation.gates import Gate
from burnish.evaluation.metrics.answers import ExactMatch, MeanLoss
from burnish.evaluation.probes import Probe
from burnish.evaluation.verdict import SIGNIFICANT

NAME = "forgetting"
KNOWS_LITTLE = 0.9  # of the loss of a model that finds all tokens equally likely
MOST_SHOWN = 8  # probes that lost most
ENUMERATED = 14  # probes up to which all ways to flip their signs are counted; of more, FLIPS are drawn
FLIPS = 20_000
ALL = "all probes"
KIND_ROOM = 3  # times the tolerance for a single kind: a few short probes swing further than all of them together
REMEDIES = (
    "Train again with replay of rows like those it should keep (training.keep_ability), a lower learning rate, fewer "
    "epochs or `method: lora` with a lower rank; `checkpoint.choose: interpolation` goes part of the way back without "
    "training again."
)


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """What a model makes of one probe.

    Attributes:
        loss: nats per token of the right continuation.
        right: whether the right choice is the likeliest by nats per token; None where there is nothing to choose.
    """

    loss: float
    right: bool | None


def worst_rise(
    probes: Sequence[Probe], base: Sequence[ProbeScore], tuned: Sequence[ProbeScore], *, vocabulary: int
) -> float:
    """The relative rise of the mean loss of all probes, or a KIND_ROOM-th of that of a kind, whichever is larger.

    What it has to stay within is the tolerance; 0.1: ten percent. Only what the base knows counts.
    """
    rises = []
    for kind, rows in _kinds(probes).items():
        before, after = (float(np.mean([scores[i].loss for i in rows])) for scores in (base, tuned))
        if before < KNOWS_LITTLE * math.log(vocabulary):
            rises.append((after / before - 1) / (1 if kind == ALL else KIND_ROOM))
    return max(rises, default=0.0)


def sign_flip_test(rises: Sequence[float], *, seed: int) -> float:
    """One-sided probability of so large a mean rise if every rise could as well have been a fall, 0..1.

    Exact up to ENUMERATED of them; of more, from FLIPS draws and the rises themselves.

    Source: Fisher 1935, The Design of Experiments, section 21; Phipson and Smyth 2010, arXiv:1603.05766, for the draws.

    >>> sign_flip_test([0.2, 0.1, 0.4], seed=0)
    0.125
    """
    found_N = np.asarray(rises, np.float64)
    n = len(found_N)
    if n <= ENUMERATED:
        flips_FN = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        return float(np.mean(flips_FN @ found_N >= found_N.sum() - 1e-12))
    flips_FN = np.random.default_rng(seed).choice((-1, 1), size=(FLIPS, n))
    return float((1 + np.sum(flips_FN @ found_N >= found_N.sum() - 1e-12)) / (1 + FLIPS))


def _kinds(probes: Sequence[Probe]) -> dict[str, list[int]]:
    """All probes, and those of each kind, by their places; a single kind is all probes."""
    found = {ALL: list(range(len(probes)))}
    for i, probe in enumerate(probes):
        found.setdefault(probe.kind, []).append(i)
    return found if len(found) > 2 else {ALL: found[ALL]}


def judge_forgetting(
    probes: Sequence[Probe],
    base: Sequence[ProbeScore],
    tuned: Sequence[ProbeScore],
    *,
    tolerance: float,
    vocabulary: int,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The `forgetting` part of evaluation.json: loss before and after of each kind, and right choices.

    Every probe of a kind counts the same. Rises are relative to the base's mean loss, which is held fixed in the
    interval. All probes together are lost when a sign-flip test says that their loss rose by more than the tolerance, a
    kind when it says so of KIND_ROOM times that (with as many tests as kinds: Bonferroni), and only if the base knew
    it. A rise that is only likely to be larger than is tolerated stops nothing.

    Args:
        probes: N, and what the base and the tuned model make of them in the same order.
        tolerance: relative rise that is let through, from the recipe.
        vocabulary: tokens of the base; ln of it is the loss of a model that knows nothing.
    """
    draws = {"resamples": resamples, "seed": seed}
    own = _kinds(probes)
    limit = SIGNIFICANT / len(own)
    kinds = {}
    for kind, rows in own.items():
        tolerated = tolerance if kind == ALL else KIND_ROOM * tolerance
        found = _rise([base[i] for i in rows], [tuned[i] for i in rows], tolerated, draws)
        known = found["base_loss"] < KNOWS_LITTLE * math.log(vocabulary)
        lost = known and found["p_value"] < limit
        kinds[kind] = {**found, "known": known, "tolerated": tolerated, "lost": lost}
    asked = [i for i, probe in enumerate(probes) if probe.is_choice]
    worst = sorted(range(len(probes)), key=lambda i: base[i].loss - tuned[i].loss)[:MOST_SHOWN]
    return {
        "n": len(probes),
        "tolerance": tolerance,
        "kinds": kinds,
        **({"choices": _choices([base[i] for i in asked], [tuned[i] for i in asked], draws)} if asked else {}),
        "lost_most": [
            {
                "file": probes[i].origin.file,
                "line": probes[i].origin.line,
                "kind": probes[i].kind,
                "text": probes[i].text,
                "base_loss": base[i].loss,
                "tuned_loss": tuned[i].loss,
            }
            for i in worst
            if tuned[i].loss > base[i].loss
        ],
    }


def gate_of(found: Mapping[str, Any], gain: str) -> Gate:
    """The gate `forgetting`: shut when an ability is lost.

    That is a kind of probes, or all of them together; or the share of right choices, when it fell by more than the
    tolerance with interval and exact test agreeing.

    Args:
        found: of `judge_forgetting`.
        gain: what the training won, in words, for the same sentence.
    """
    kinds, choices, tolerance = found["kinds"], found.get("choices"), found["tolerance"]
    figures = {"n": found["n"], "tolerance": tolerance, **kinds[ALL]}
    known = {kind: figures for kind, figures in kinds.items() if figures["known"]}
    if not known:
        reason = (
            f"The base foresees these {found['n']} probes hardly better than chance "
            f"({kinds[ALL]['base_loss']:.2f} nats per token), so nothing can be lost here; name probes it is good at "
            "in evaluation.forgetting.probes."
        )
        return Gate(NAME, True, reason, figures=figures)
    lost = [kind for kind, figures in kinds.items() if figures["lost"]]
    worst = max(lost or known, key=lambda kind: kinds[kind]["rise"])
    fell = _of_choices(choices) if choices is not None and _fell(choices, tolerance) else ""
    reason = (
        f"The loss on {_named(worst, kinds[worst]['n'])} changed by {_percent(kinds[worst])}"
        f"{fell}; {100 * kinds[worst]['tolerated']:g} % are tolerated, and {gain}."
    )
    return Gate(NAME, not (lost or fell), reason, REMEDIES if lost or fell else "", figures)


def _named(kind: str, n: int) -> str:
    return f"all {n} probes" if kind == ALL else f'the {n} probes "{kind}"'


def _percent(figures: Mapping[str, Any]) -> str:
    return f"{100 * figures['rise']:+.1f} % [{100 * figures['low']:+.1f}, {100 * figures['high']:+.1f}]"


def _rise(
    base: Sequence[ProbeScore], tuned: Sequence[ProbeScore], tolerated: float, draws: Mapping[str, int]
) -> dict[str, Any]:
    """Mean losses in nats per token, the relative rise with its 95 % interval, and the sign-flip test of a rise
    by more than is tolerated."""
    before, after = ([score.loss for score in scores] for scores in (base, tuned))
    beyond = [b - (1 + tolerated) * a for a, b in zip(before, after, strict=True)]
    difference = paired_bootstrap(MeanLoss(), [""] * len(base), after, before, **draws)
    mean = float(np.mean(before))
    return {
        "n": len(base),
        "base_loss": mean,
        "tuned_loss": float(np.mean(after)),
        "rise": difference.value / mean,
        "low": difference.low / mean,
        "high": difference.high / mean,
        "p_value": sign_flip_test(beyond, seed=draws["seed"]),
    }


def _choices(base: Sequence[ProbeScore], tuned: Sequence[ProbeScore], draws: Mapping[str, int]) -> dict[str, Any]:
    """Shares of right choices, their difference with its 95 % interval, and the exact test of it."""
    before, after = ([str(score.right) for score in scores] for scores in (base, tuned))
    truth = [str(True)] * len(base)
    difference: Difference = paired_bootstrap(ExactMatch(), truth, after, before, **draws)
    won, lost = row_wins(ExactMatch(), truth, after, before)
    return {
        "base_accuracy": before.count(str(True)) / len(before),
        "tuned_accuracy": after.count(str(True)) / len(after),
        "difference": asdict(difference),
        "p_value": sign_test(won, lost),
    }


def _fell(choices: Mapping[str, Any], tolerance: float) -> bool:
    difference = choices["difference"]
    enough = -difference["value"] > tolerance * choices["base_accuracy"]
    return bool(enough and difference["high"] < 0 and choices["p_value"] < SIGNIFICANT)


def _of_choices(choices: Mapping[str, Any]) -> str:
    before, after = (100 * choices[name] for name in ("base_accuracy", "tuned_accuracy"))
    return f", right choices went from {before:.0f} % to {after:.0f} % of {choices['difference']['n']}"
