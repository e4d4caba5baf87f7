"""The law through the points of a learning curve, and how far it can be trusted."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.learning_curve import Law, Point, fit_law

SIZES = (100, 200, 400, 800)


def points_of(error: object, width: float = 0.0) -> list[Point]:
    values = [(rows, 1 - float(error(rows))) for rows in SIZES]  # type: ignore[operator]
    return [Point(rows, value, value - width, value + width) for rows, value in values]


def law_of(points: list[Point], *, higher: bool = True) -> Law:
    return fit_law(points, higher_is_better=higher, seed=1)


def test_a_law_without_noise_is_found_again() -> None:
    law = law_of(points_of(lambda rows: 2 * rows**-0.5 + 0.03))

    assert law.at(3_200).value == pytest.approx(1 - (2 * 3_200**-0.5 + 0.03), abs=2e-3)
    assert law.ceiling() == pytest.approx(0.97, abs=5e-3)
    assert law.gain(800, 1_600).value == pytest.approx(2 * (800**-0.5 - 1_600**-0.5), abs=2e-3)


def test_an_error_that_lower_is_better_of_needs_no_ceiling_at_one() -> None:
    points = [Point(rows, 30 * rows**-0.3, 0.0, 0.0) for rows in SIZES]
    law = law_of(points, higher=False)

    assert law.at(1_600).value == pytest.approx(30 * 1_600**-0.3, rel=0.02)
    assert law.gain(800, 1_600).value > 0


def test_a_curve_that_does_not_rise_stays_where_it_is() -> None:
    law = law_of([Point(rows, 0.8 - rows / 1e5, 0.78, 0.82) for rows in SIZES])

    assert law.as_dict()["scale"] == 0.0
    assert law.gain(800, 8_000).value == 0.0
    assert law.at(8_000).value == pytest.approx(0.796, abs=5e-3)


def test_the_interval_widens_with_the_distance_and_never_passes_what_is_possible() -> None:
    law = law_of(points_of(lambda rows: 2 * rows**-0.5, width=0.03))
    near, far = law.at(1_600), law.at(16_000)

    assert near.low < near.value < near.high
    assert far.high <= 1.0
    gain_near, gain_far = law.gain(800, 1_600), law.gain(800, 16_000)
    assert gain_far.high - gain_far.low > gain_near.high - gain_near.low


def test_the_interval_holds_what_is_measured_on_more_rows_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for trial in range(60):
        exponent, floor = random.uniform(0.2, 0.7), random.uniform(0.0, 0.1)
        scale = random.uniform(0.15, 0.4) * 100**exponent
        deviation = 0.012

        def error(rows: int, a: float = scale, b: float = exponent, c: float = floor) -> float:
            return a * rows**-b + c

        values = [1 - random.normal(error(rows), deviation) for rows in SIZES]
        points = [Point(n, v, v - 1.96 * deviation, v + 1.96 * deviation) for n, v in zip(SIZES, values, strict=True)]
        forecast = fit_law(points, higher_is_better=True, seed=trial, draws=200).at(2_000)
        held += forecast.low <= 1 - random.normal(error(2_000), deviation) <= forecast.high
    assert held >= 54  # of 60; nine in ten


def test_equal_points_and_seed_give_equal_laws() -> None:
    points = points_of(lambda rows: rows**-0.4, width=0.02)

    assert law_of(points).at(5_000) == law_of(points).at(5_000)
