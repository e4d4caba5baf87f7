"""What a tuned model forgot: its losses on probes against those of its base, probe by probe. No files, no models.

Shapes: N probes.
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


def relative_rise(base: Sequence[ProbeScore], tuned: Sequence[ProbeScore]) -> float:
    """Mean loss of tuned over that of the base, minus one: 0.1 is a loss ten percent higher."""
    before, after = (float(np.mean([score.loss for score in scores])) for scores in (base, tuned))
    return after / before - 1


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
    """The `forgetting` part of evaluation.json: loss before and after, rise with its interval, kinds, choices.

    Every probe counts the same. Rises are relative to the base's mean loss, which is held fixed in the interval.

    Args:
        probes: N, and what the base and the tuned model make of them in the same order.
        tolerance: relative rise that is let through, from the recipe.
        vocabulary: tokens of the base; ln of it is the loss of a model that knows nothing.
    """
    draws = {"resamples": resamples, "seed": seed}
    kinds = list(dict.fromkeys(probe.kind for probe in probes))
    own = {kind: [i for i, probe in enumerate(probes) if probe.kind == kind] for kind in kinds}
    found = _rise(base, tuned, draws)
    asked = [i for i, probe in enumerate(probes) if probe.is_choice]
    worst = sorted(range(len(probes)), key=lambda i: base[i].loss - tuned[i].loss)[:MOST_SHOWN]
    return {
        **found,
        "tolerance": tolerance,
        "base_knows_little": found["base_loss"] >= KNOWS_LITTLE * math.log(vocabulary),
        "kinds": {kind: _rise([base[i] for i in rows], [tuned[i] for i in rows], draws) for kind, rows in own.items()},
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
    """The gate `forgetting`: shut when a loss is above the tolerance and more than chance.

    Either the loss on probes rose by more than the tolerance and the interval of the rise excludes zero, or the share
    of right choices fell by more than it, with interval and exact test agreeing. A base that knows next to nothing of
    the probes has nothing to lose.

    Args:
        gain: what the training won, in words, for the same sentence.
    """
    tolerance, choices = found["tolerance"], found.get("choices")
    figures = {name: found[name] for name in ("n", "base_loss", "tuned_loss", "rise", "low", "high", "tolerance")}
    if found["base_knows_little"]:
        reason = (
            f"The base foresees these {found['n']} probes hardly better than chance ({found['base_loss']:.2f} nats per "
            "token), so nothing of it can be lost here; name probes it is good at in evaluation.forgetting.probes."
        )
        return Gate(NAME, True, reason, figures=figures)
    rose = found["rise"] > tolerance and found["low"] > 0
    fell = choices is not None and _fell(choices, tolerance)
    interval = f"[{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"
    reason = (
        f"The loss on {found['n']} probes of general ability changed by {100 * found['rise']:+.1f} % {interval}"
        f"{_of_choices(choices) if choices else ''}, {gain}; {100 * tolerance:g} % are tolerated."
    )
    return Gate(NAME, not (rose or fell), reason, REMEDIES if rose or fell else "", figures)


def _rise(base: Sequence[ProbeScore], tuned: Sequence[ProbeScore], draws: Mapping[str, int]) -> dict[str, Any]:
    """Mean losses in nats per token, and the relative rise with its 95 % interval."""
    before, after = ([score.loss for score in scores] for scores in (base, tuned))
    difference = paired_bootstrap(MeanLoss(), [""] * len(base), after, before, **draws)
    mean = float(np.mean(before))
    return {
        "n": len(base),
        "base_loss": mean,
        "tuned_loss": float(np.mean(after)),
        "rise": difference.value / mean,
        "low": difference.low / mean,
        "high": difference.high / mean,
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
