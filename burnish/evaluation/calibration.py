"""Can a classifier be taken at its word? One number that corrects how sure it is, and what that changes.

Shapes: N rows, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from burnish.evaluation.metrics.probabilities import (
    Brier,
    CalibrationError,
    LogLoss,
    OfProbabilities,
    Probabilities,
    reliability,
)
from burnish.evaluation.metrics.resampling import Array, bias_corrected_interval, draws, percentile_interval

FEWEST = 50  # validation rows; of fewer, a temperature follows the rows and not the model
COLDEST, HOTTEST = 0.05, 20.0
_METRICS: tuple[type[OfProbabilities], ...] = (CalibrationError, Brier, LogLoss)


@dataclass(frozen=True, slots=True)
class Temperature:
    """What logits are divided by before they become probabilities; labels stay as they are.

    Attributes:
        temperature: over 1 where the model was too sure, under 1 where it was not sure enough.
        n: validation rows it was fitted on.
        reason: why it is 1 without having been fitted; else empty.
    """

    temperature: float
    n: int
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def unfitted(n: int) -> Temperature:
    """What `fit_temperature` gives for fewer than `FEWEST` validation rows, whatever they say."""
    return Temperature(1.0, n, f"{n} validation rows are too few to correct how sure it is; {FEWEST} are not")


def fit_temperature(class_N: Array, logits_NC: Array) -> Temperature:
    """The temperature with the smallest log loss on these validation rows.

    Right labels count a little less than whole, 1 - 1 / (N + 2), so that rows which are all right do not ask for a
    temperature of 0.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2; the targets from Platt 1999, Probabilistic Outputs for
    Support Vector Machines, section 2.2.
    """
    from scipy.optimize import minimize_scalar

    n, classes = logits_NC.shape
    if n < FEWEST:
        return unfitted(n)
    logits_NC = logits_NC.astype(np.float64)
    doubt = 1 / (n + 2)
    target_NC = np.full(logits_NC.shape, doubt / max(1, classes - 1))
    target_NC[np.arange(n), class_N] = 1 - doubt

    def loss(log_temperature: float) -> float:
        return float(-(target_NC * _log_softmax(logits_NC / np.exp(log_temperature))).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return Temperature(float(np.exp(found.x)), n)


def softened(probabilities_NC: Array, temperature: float) -> Array:
    """(N, C) the probabilities that the same logits give at a temperature."""
    if temperature == 1.0:
        return probabilities_NC
    return softmax(np.log(np.maximum(probabilities_NC, 1e-300)), temperature)


def softmax(logits_NC: Array, temperature: float = 1.0) -> Array:
    """(N, C) probabilities, float64."""
    return np.asarray(np.exp(_log_softmax(logits_NC.astype(np.float64) / temperature)))


def _log_softmax(logits_NC: Array) -> Array:
    shifted_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    return np.asarray(shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True)))


def judge_calibration(
    labels: Sequence[str],
    positive: str,
    references: Sequence[str],
    before_NC: Array,
    after_NC: Array,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Reliability bins and figures on the test rows, before and after the temperature.

    Args:
        positive: of two labels, the one whose probability is looked at; "" of more.

    Returns:
        {"bins": {"before", "after"}, "figures": {metric: {"before", "after", "difference"}}}, each with value, low,
        high; the difference is after minus before on the same resampled rows.
    """
    rows, both = list(references), (_plain(before_NC), _plain(after_NC))
    metrics = [kind(labels, positive) for kind in _METRICS]
    whole = np.ones((1, len(rows)), dtype=np.int64)
    blocks = [
        [[metric.weighted(rows, said, block) for said in both] for metric in metrics]
        for block in draws(whole[0], resamples, seed)
    ]
    figures: dict[str, Any] = {}
    for place, metric in enumerate(metrics):
        before, after = (float(metric.weighted(rows, said, whole)[0]) for said in both)
        before_R, after_R = (np.concatenate([block[place][when] for block in blocks]) for when in (0, 1))
        figures[metric.name] = {
            "before": _entry(before, bias_corrected_interval(before_R, before)),
            "after": _entry(after, bias_corrected_interval(after_R, after)),
            "difference": _entry(after - before, percentile_interval(after_R - before_R)),
        }
    bins = {
        name: reliability(labels, positive, rows, said) for name, said in zip(("before", "after"), both, strict=True)
    }
    return {"bins": bins, "figures": figures}


def positive_of(train_label_counts: Mapping[str, int]) -> str:
    """Of two labels the rarer one, which is usually looked for; "" of more.

    >>> positive_of({"ham": 90, "spam": 10})
    'spam'
    """
    return min(sorted(train_label_counts), key=train_label_counts.__getitem__) if len(train_label_counts) == 2 else ""


def _entry(value: float, interval: tuple[float, float]) -> dict[str, float]:
    return {"value": value, "low": min(interval[0], value), "high": max(interval[1], value)}


def _plain(probabilities_NC: Array) -> Sequence[Probabilities]:
    """Rows of probabilities as metrics read them; an array is a sequence of rows."""
    rows: Any = probabilities_NC
    found: Sequence[Probabilities] = rows
    return found
