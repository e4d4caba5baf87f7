"""What more rows would bring: an inverse power law through what was measured on fewer, with its interval.

Shapes: P points, R draws, B exponents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.evaluation.metrics.resampling import Z_95, percentile_interval

Array = np.ndarray[Any, Any]

DRAWS = 500
EXPONENTS = np.linspace(0.05, 1.5, 59)  # of real learning curves; Hestness et al. 2017 find 0.07 to 0.35 of most
SMALLEST_ERROR_OF_A_POINT = 0.002  # standard error: ten right answers of ten are no certainty
FEWEST_POINTS = 3  # that a law with three numbers is drawn through


@dataclass(frozen=True, slots=True)
class Point:
    """A metric's value after learning from so many rows, with its 95 % interval."""

    rows: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Law:
    """error(n) = scale * n ** -exponent + floor, once as fitted and once for every draw.

    The error is 1 - value where higher is better, else the value itself.

    Attributes:
        scale, exponent, floor: each (1 + R,), the fit to the measured points first.
        spread: standard deviation of a measured point around the fit.
        higher_is_better: of the metric.
    """

    scale: Array
    exponent: Array
    floor: Array
    spread: float
    higher_is_better: bool

    def at(self, rows: int) -> Point:
        """The value to be expected of so many rows; the interval holds what would be measured, not its mean alone.

        The same draws answer for every number of rows, so that differences between two of them are draws as well.
        """
        values = self._values(rows)
        noise = np.random.default_rng(rows).normal(0.0, self.spread, len(values) - 1)
        low, high = percentile_interval(self._bounded(values[1:] + noise))
        value = float(values[0])
        return Point(rows, value, min(low, value), max(high, value))

    def gain(self, before: int, after: int) -> Point:
        """How much better `after` rows are than `before`, oriented so that more is better."""
        sign = 1.0 if self.higher_is_better else -1.0
        gains = sign * (self._values(after) - self._values(before))
        low, high = percentile_interval(gains[1:])
        value = float(gains[0])
        return Point(after, value, min(low, value), max(high, value))

    def ceiling(self) -> float:
        """The value that no number of rows of this kind goes beyond, by the fit."""
        floor = float(self.floor[0])
        return 1.0 - floor if self.higher_is_better else floor

    def as_dict(self) -> dict[str, float]:
        return {"scale": float(self.scale[0]), "exponent": float(self.exponent[0]), "floor": float(self.floor[0])}

    def _values(self, rows: int) -> Array:
        errors = self.scale * float(rows) ** -self.exponent + self.floor
        return 1.0 - errors if self.higher_is_better else errors

    def _bounded(self, values: Array) -> Array:
        return np.minimum(values, 1.0) if self.higher_is_better else np.maximum(values, 0.0)


def fit_law(points: Sequence[Point], *, higher_is_better: bool, seed: int, draws: int = DRAWS) -> Law:
    """The law through the points, each weighted by its precision, and one law for each draw of the points.

    A draw moves every point by chance as far as its interval and the misfit of the law say it may be off.

    Args:
        points: FEWEST_POINTS or more, of different numbers of rows.
        seed: of the draws.

    Source: Figueroa et al. 2012, BMC Medical Informatics and Decision Making 12:8, for the weighted inverse power law
    of a learning curve; Hestness et al. 2017, arXiv:1712.00409, for its form. The draws are a parametric bootstrap
    (Efron and Tibshirani 1993, section 6.5).

    >>> points = [Point(n, 1 - 2 * n**-0.5, 0.0, 0.0) for n in (100, 200, 400)]
    >>> round(fit_law(points, higher_is_better=True, seed=0).at(1600).value, 3)
    0.95
    """
    assert len(points) >= FEWEST_POINTS, "a law needs points"
    rows_P = np.array([point.rows for point in points], float)
    values_P = np.array([point.value for point in points])
    errors_P = 1.0 - values_P if higher_is_better else values_P
    halves_P = np.array([max(point.high - point.low, 0.0) for point in points]) / 2
    deviation_P = np.maximum(halves_P / Z_95, SMALLEST_ERROR_OF_A_POINT)
    first = _fit(rows_P, errors_P[None], deviation_P)
    fitted_P = first[0] * rows_P ** -first[1] + first[2]
    misfit = float(np.sqrt(np.square(errors_P - fitted_P).mean()))
    spread_P = np.hypot(deviation_P, misfit)
    moved = np.random.default_rng(seed).normal(errors_P, spread_P, (draws, len(points)))
    drawn = _fit(rows_P, np.maximum(moved, 0.0), deviation_P)
    scale, exponent, floor = (np.concatenate([one, more]) for one, more in zip(first, drawn, strict=True))
    return Law(scale, exponent, floor, float(spread_P[-1]), higher_is_better)


def _fit(rows_P: Array, errors_RP: Array, deviation_P: Array) -> tuple[Array, Array, Array]:
    """Scale, exponent and floor, (R,) each: for every exponent the weighted least squares with both others >= 0."""
    weight_P = deviation_P**-2 / (deviation_P**-2).sum()
    smallest_R = errors_RP.min(axis=1)
    best_R = np.full(len(errors_RP), np.inf)
    scale_R, exponent_R, floor_R = (np.zeros(len(errors_RP)) for _ in range(3))
    for exponent in EXPONENTS:
        power_P = rows_P**-exponent
        mean_power, mean_R = float(weight_P @ power_P), errors_RP @ weight_P
        centred_P = power_P - mean_power
        slope_R = np.maximum(errors_RP @ (weight_P * centred_P) / float(weight_P @ centred_P**2), 0.0)
        rest_R = mean_R - slope_R * mean_power
        below_R = rest_R < 0  # the floor would lie under zero: a law without one
        alone_R = errors_RP @ (weight_P * power_P) / float(weight_P @ power_P**2)
        slope_R, rest_R = np.where(below_R, alone_R, slope_R), np.where(below_R, 0.0, rest_R)
        misfit_R = np.square(errors_RP - slope_R[:, None] * power_P - rest_R[:, None]) @ weight_P
        better_R = misfit_R < best_R - 1e-12 * np.maximum(smallest_R, 1.0)
        best_R = np.where(better_R, misfit_R, best_R)
        scale_R, exponent_R, floor_R = (
            np.where(better_R, new, old) for new, old in ((slope_R, scale_R), (exponent, exponent_R), (rest_R, floor_R))
        )
    return scale_R, exponent_R, floor_R
