"""Cells, draws and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.metrics import resampling
from burnish.evaluation.metrics.classification import MacroF1
from burnish.evaluation.metrics.resampling import (
    bias_corrected_interval,
    cells,
    draws,
    expanded_interval,
    percentile_interval,
    resampled,
    tango_interval,
    value_of,
    wilson_interval,
)


def test_cells_count_the_distinct_rows() -> None:
    rows, counts = cells(["b", "a", "b"], ["b", "a", "a"])
    assert rows == [("a", "a"), ("b", "a"), ("b", "b")]
    assert counts.tolist() == [1, 1, 1]


def test_draws_keep_the_number_of_rows_and_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([5, 3, 2])
    whole = np.concatenate(list(draws(counts, 100, seed=1)))
    monkeypatch.setattr(resampling, "CELLS_AT_ONCE", 21)  # seven draws at once
    in_blocks = list(draws(counts, 100, seed=1))
    assert [len(block) for block in in_blocks] == [7] * 14 + [2]
    assert (np.concatenate(in_blocks) == whole).all()
    assert (whole.sum(axis=1) == 10).all()
    assert whole.mean(axis=0) == pytest.approx([5, 3, 2], abs=0.6)  # sd of the mean 0.16


def test_a_class_a_resample_misses_leaves_its_mean() -> None:
    # Three classes, all right; the second weighting misses c: macro-F1 stays 1, not 2/3.
    weights = np.array([[1, 1, 1], [2, 1, 0]])
    assert resampled(MacroF1(["a", "b", "c"]), ["a", "b", "c"], ["a", "b", "c"], weights).tolist() == [1.0, 1.0]


def test_value_of_leaves_the_metric_empty() -> None:
    metric = MacroF1()
    assert value_of(metric, ["a", "b"], ["a", "a"]) == pytest.approx((2 / 3 + 0) / 2)
    assert not metric.counts


def test_wilson_at_the_ends_and_in_the_middle() -> None:
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=5e-5)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=5e-5)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I


def test_the_corrected_interval_of_unbiased_resamples_is_the_percentile_interval() -> None:
    values = np.linspace(0.0, 1.0, 1001)
    assert bias_corrected_interval(values, 0.5) == pytest.approx(percentile_interval(values), abs=1e-3)


def test_the_corrected_interval_moves_with_the_bias_and_holds_the_value() -> None:
    values = np.linspace(0.0, 1.0, 1001)
    low, high = bias_corrected_interval(values, 0.8)
    assert low > 0.025
    assert high > 0.975
    assert bias_corrected_interval(np.full(100, 0.4), 0.9) == (0.4, 0.9)


def test_the_interval_of_a_paired_difference_is_the_published_one() -> None:
    # Fagerland, Lydersen and Laake 2014, airway hyper-responsiveness: 1 and 7 of 21 pairs differ.
    assert [round(float(end), 3) for end in tango_interval(1, 7, 21)] == [-0.517, -0.026]


def test_a_paired_interval_has_a_width_without_any_difference_and_ends_at_one() -> None:
    low, high = tango_interval(np.array([0, 10, 0]), np.array([0, 0, 10]), np.array([300, 10, 10]))
    assert (low[0], high[0]) == pytest.approx((-0.01264, 0.01264), abs=1e-5)
    assert (high[1], low[2]) == pytest.approx((1.0, -1.0))
    assert (low[1], high[2]) == pytest.approx((0.4449, -0.4449), abs=1e-4)


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (3, 0), (15, 5), (14, 5), (2, 9), (40, 23), (40, 24)])
def test_a_paired_interval_holds_zero_when_mcnemars_test_finds_nothing(wins: int, losses: int) -> None:
    low, high = tango_interval(wins, losses, 200)
    assert (low <= 0 <= high) == ((wins - losses) ** 2 / (wins + losses) <= 1.959963984540054**2)


def test_percentiles_of_few_rows_are_taken_further_out() -> None:
    values = np.random.default_rng(0).normal(size=200_000)
    cases = ((5, 5), (20, 20), (500, 10), (10**6, 10**6))
    ends = [expanded_interval(values, rows=n, differing=m)[1] for n, m in cases]
    # sqrt(n / (n - 1)) times the quantile of t with 4, 19, 20 and 10^6 degrees of freedom: 2.776, 2.093, 2.086, 1.960
    assert ends == pytest.approx([3.104, 2.147, 2.088, 1.960], abs=0.08)
    assert expanded_interval(values[:100], rows=2, differing=1) == (values[:100].min(), values[:100].max())
