"""How good the probabilities of a classifier are: how they rank, how sure they are, and whether they can be believed.

A prediction is a tuple of C probabilities in the order of the labels; a reference is a label.

Shapes: N rows, R resamples, C classes, T different scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from burnish.evaluation.metrics.bootstrapped import Bootstrapped
from burnish.evaluation.metrics.resampling import Array, resampled, wilson_interval
from burnish.types import Metric

MOST_BINS, ROWS_OF_A_BIN = 10, 15  # of the reliability figures: as many rows in each
RARE = 0.25  # share of the rows under which the positive class is rare
SMALLEST = 1e-15  # a probability counts as at least this; the logarithm of 0 has no end
Probabilities = tuple[float, ...]


class OfProbabilities(Bootstrapped):
    """A metric of probabilities.

    Args:
        labels: in the order of the probabilities.
        positive: of two labels, the one that is looked for; "": the last.
    """

    def __init__(self, labels: Sequence[str] = (), positive: str = "") -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.positive = positive or (self.labels[-1] if self.labels else "")

    def score(self, reference: str, prediction: Probabilities) -> float:
        """The probability of the right label, with the sign of the metric: more is better where the metric says so."""
        right = prediction[self.labels.index(reference)]
        return right if self.higher_is_better else -right

    def _ranked(self, references: Sequence[str], predictions: Sequence[Probabilities], weights_RN: Array) -> Ranked:
        place = self.labels.index(self.positive)
        scores_N = np.array([prediction[place] for prediction in predictions])
        positive_N = np.array([reference == self.positive for reference in references])
        return rank(scores_N, positive_N, weights_RN)

    def _arrays(self, references: Sequence[str], predictions: Sequence[Probabilities]) -> tuple[Array, Array]:
        """(N,) class ids and (N, C) probabilities."""
        index = {label: c for c, label in enumerate(self.labels)}
        return np.array([index[label] for label in references]), np.array(predictions, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows counted from the highest score down to each of T different scores.

    Attributes:
        right: (R, T) positive rows with this score or a higher one.
        wrong: (R, T) negative ones.
    """

    right: Array
    wrong: Array


def rank(scores_N: Array, positive_N: Array, weights_RN: Array) -> Ranked:
    """Counts under each weighting; rows of one score are one step, whatever their order."""
    order = np.argsort(-scores_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores_N[order])), len(order) - 1)
    weights_RN = weights_RN[:, order].astype(np.float64)
    right_RT = np.cumsum(weights_RN * positive_N[order], axis=1)[:, ends]
    return Ranked(right_RT, np.cumsum(weights_RN, axis=1)[:, ends] - right_RT)


class PrAuc(OfProbabilities):
    """Average precision: the mean precision over the positive rows, ranked by their probability; 0 without any.

    Guessing gives the share of positive rows.

    Source: as scikit-learn's average_precision_score, without interpolation (Davis and Goadrich 2006).
    """

    name: ClassVar[str] = "pr-auc"

    def weighted(self, references: Sequence[str], predictions: Sequence[Probabilities], weights_RN: Array) -> Array:
        ranked = self._ranked(references, predictions, weights_RN)
        precision_RT = ranked.right / np.maximum(ranked.right + ranked.wrong, 1e-300)
        steps_RT = np.diff(ranked.right, axis=1, prepend=0.0)
        return np.asarray((steps_RT * precision_RT).sum(axis=1) / np.maximum(ranked.right[:, -1], 1e-300))


class RocAuc(OfProbabilities):
    """Probability that a positive row has a higher score than a negative one, ties counted half; 0.5 is guessing.

    A resample without positive or without negative rows counts 0.5.

    Source: Hanley and McNeil 1982, Radiology 143:29-36.
    """

    name: ClassVar[str] = "roc-auc"

    def weighted(self, references: Sequence[str], predictions: Sequence[Probabilities], weights_RN: Array) -> Array:
        ranked = self._ranked(references, predictions, weights_RN)
        before_RT = np.concatenate([np.zeros((len(weights_RN), 1)), ranked.right[:, :-1]], axis=1)
        steps_RT = np.diff(ranked.wrong, axis=1, prepend=0.0)
        area_R = (steps_RT * (before_RT + ranked.right) / 2).sum(axis=1)
        pairs_R = ranked.right[:, -1] * ranked.wrong[:, -1]
        return np.where(pairs_R > 0, area_R / np.maximum(pairs_R, 1.0), 0.5)


class LogLoss(OfProbabilities):
    """Mean of minus the logarithm of the right label's probability, in nats."""

    name: ClassVar[str] = "log-loss"
    higher_is_better: ClassVar[bool] = False

    def weighted(self, references: Sequence[str], predictions: Sequence[Probabilities], weights_RN: Array) -> Array:
        class_N, probability_NC = self._arrays(references, predictions)
        right_N = np.maximum(probability_NC[np.arange(len(class_N)), class_N], SMALLEST)
        return np.asarray(weights_RN @ -np.log(right_N) / weights_RN.sum(axis=1))


class Brier(OfProbabilities):
    """Mean squared distance of the probabilities from what came true; of two classes that of the positive one.

    Source: Brier 1950, Monthly Weather Review 78:1-3; halved for two classes, as is usual.
    """

    name: ClassVar[str] = "brier"
    higher_is_better: ClassVar[bool] = False

    def weighted(self, references: Sequence[str], predictions: Sequence[Probabilities], weights_RN: Array) -> Array:
        class_N, probability_NC = self._arrays(references, predictions)
        distance_N = np.square(probability_NC - np.eye(len(self.labels))[class_N]).sum(axis=1)
        distance_N = distance_N / 2 if len(self.labels) == 2 else distance_N
        return np.asarray(weights_RN @ distance_N / weights_RN.sum(axis=1))


class CalibrationError(OfProbabilities):
    """How far the probabilities are from the shares that came true, averaged over bins of rows that are equally sure.

    Of two classes the probability of the positive one is looked at, of more that of the likeliest.

    Source: expected calibration error, Guo et al. 2017, arXiv:1706.04599, eq. 5, over bins of equally many rows as in
    Nguyen and O'Connor 2015, arXiv:1508.05154: ten, or fewer where they would hold under 15 rows.
    """

    name: ClassVar[str] = "calibration-error"
    higher_is_better: ClassVar[bool] = False

    def weighted(self, references: Sequence[str], predictions: Sequence[Probabilities], weights_RN: Array) -> Array:
        sure_N, true_N = self.believed(references, predictions)
        error_R = np.zeros(len(weights_RN))
        for rows in _binned(sure_N, weights_RN.mean(axis=0)):
            error_R += np.abs(weights_RN[:, rows] @ (sure_N[rows] - true_N[rows]))
        return np.asarray(error_R / weights_RN.sum(axis=1))

    def believed(self, references: Sequence[str], predictions: Sequence[Probabilities]) -> tuple[Array, Array]:
        """(N,) a probability of each row, and (N,) 1.0 where it came true."""
        class_N, probability_NC = self._arrays(references, predictions)
        if len(self.labels) == 2:
            place = self.labels.index(self.positive)
            return probability_NC[:, place], (class_N == place).astype(np.float64)
        return probability_NC.max(axis=1), (probability_NC.argmax(axis=1) == class_N).astype(np.float64)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows that are about equally sure: their mean probability, and the share that came true with its interval."""

    n: int
    probability: float
    share: float
    low: float
    high: float


def reliability(
    labels: Sequence[str], positive: str, references: Sequence[str], predictions: Sequence[Probabilities]
) -> list[dict[str, Any]]:
    """The bins of the calibration error that hold rows, the least sure first; Wilson intervals."""
    sure_N, true_N = CalibrationError(labels, positive).believed(references, predictions)
    found = []
    for rows in _binned(sure_N, np.ones(len(sure_N))):
        hits, n = int(true_N[rows].sum()), len(rows)
        found.append(asdict(ReliabilityBin(n, float(sure_N[rows].mean()), hits / n, *wilson_interval(hits, n))))
    return found


def _binned(sure_N: Array, mass_N: Array) -> list[Array]:
    """The rows of each bin, which hold equal mass as far as rows of one probability stay together."""
    value_N = np.unique(sure_N, return_inverse=True)[1]
    mass_V = np.bincount(value_N, weights=mass_N)
    total = float(mass_V.sum())
    bins = min(MOST_BINS, max(2, round(total) // ROWS_OF_A_BIN))
    middle_V = np.cumsum(mass_V) - mass_V / 2
    bin_N = np.minimum((bins * middle_V / total).astype(int), bins - 1)[value_N]
    return [rows for b in range(bins) if len(rows := np.flatnonzero(bin_N == b))]


class OfLikeliest(Bootstrapped):
    """A metric of labels for predictions that are probabilities: of the likeliest label.

    Args:
        metric: an empty one.
        labels: in the order of the probabilities.
    """

    def __init__(self, metric: Metric, labels: Sequence[str]) -> None:
        super().__init__()
        self.metric = metric
        self.labels = tuple(labels)
        self.name = metric.name  # type: ignore[misc]  # of what it stands for

    def weighted(self, references: Sequence[str], predictions: Sequence[Probabilities], weights_RN: Array) -> Array:
        return resampled(self.metric, references, likeliest(self.labels, predictions), weights_RN)

    def score(self, reference: str, prediction: Probabilities) -> float:
        """1 where the likeliest label is right."""
        return float(likeliest(self.labels, [prediction])[0] == reference)


def likeliest(labels: Sequence[str], predictions: Sequence[Probabilities]) -> list[str]:
    """The label with the highest probability of each row; of equal ones the first."""
    return [labels[max(range(len(labels)), key=prediction.__getitem__)] for prediction in predictions]


RANKING = (RocAuc, PrAuc)  # of two classes
PROBABILITY_METRICS: tuple[type[OfProbabilities], ...] = (*RANKING, LogLoss, Brier, CalibrationError)
