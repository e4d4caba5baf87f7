"""Tests of whether two samples of rows come from one source: p-values that hold for any rows and any sizes.

Shapes: M rows of the reference, N new rows, D width of a vector, C kinds of values, P permutations.

The null hypothesis of all of them is that the M + N rows are exchangeable: which of them are called new is chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

PERMUTATIONS = 1_999  # the smallest p-value is one in 2,000
END = 0.01  # share of the rows at each end at which gaps are not looked at: there a single row is a large one
AT_ONCE = 250  # permutations held in memory at once


@dataclass(frozen=True, slots=True)
class Compared:
    """A test's statistic and its p-value, the chance of one as large when nothing has changed."""

    statistic: float
    p_value: float


def mmd_test(reference_MD: Array, new_ND: Array, *, seed: int, permutations: int = PERMUTATIONS) -> Compared:
    """Whether vectors have another distribution: squared maximum mean discrepancy and its permutation test.

    The kernel is Gaussian with the median distance of all rows as its width. The statistic is the unbiased one, so it
    is about 0, and may be below, when nothing has changed; the largest it can be is 2.

    Source: Gretton et al. 2012, A Kernel Two-Sample Test, JMLR 13:723-773, eq. 3 and section 8.
    Cost: O((M + N)² (D + P)); 2,000 rows take about a second on one core.
    """
    rows = np.concatenate([reference_MD, new_ND]).astype(np.float32)
    kernel = gaussian_kernel(rows)
    np.fill_diagonal(kernel, 0.0)  # a row is not compared with itself
    is_new = np.zeros(len(rows), np.float32)
    is_new[len(reference_MD) :] = 1.0
    observed = float(_mmd(kernel, is_new[:, None])[0])
    p_value = _p_value(lambda z: _mmd(kernel, z), is_new, observed, seed=seed, permutations=permutations)
    return Compared(observed, p_value)


def gaussian_kernel(rows_RD: Array) -> Array:
    """(R, R) exp(-d² / 2w²) of the distances d between rows, w their median."""
    squares = (rows_RD**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * rows_RD @ rows_RD.T, 0.0)
    width = float(np.median(distances[np.triu_indices(len(rows_RD), 1)]))
    kernel: Array = np.exp(-distances / (2 * width)) if width > 0 else (distances == 0).astype(np.float32)
    return kernel


def _mmd(kernel_RR: Array, is_new_RP: Array) -> Array:
    """(P,) unbiased statistics of a kernel without its diagonal, for P ways to call N of the rows new."""
    n = float(is_new_RP[:, 0].sum())
    m = len(kernel_RR) - n
    sums_R = kernel_RR.sum(axis=1, dtype=np.float64)
    touching_P = sums_R @ is_new_RP  # of pairs whose first row is new
    among_new_P = ((kernel_RR @ is_new_RP) * is_new_RP).sum(axis=0, dtype=np.float64)
    between_P = touching_P - among_new_P
    among_reference_P = sums_R.sum() - touching_P - between_P
    found: Array = among_new_P / (n * (n - 1)) + among_reference_P / (m * (m - 1)) - 2 * between_P / (m * n)
    return found


def numbers_test(reference_M: Array, new_N: Array, *, seed: int, permutations: int = PERMUTATIONS) -> Compared:
    """Whether numbers have another distribution: the largest standardised gap, and its permutation test.

    The gap between the shares of rows up to a value is divided by how far it goes by chance at such a value. A few
    new rows that are all at one end are seen so, where Kolmogorov-Smirnov asks for many.

    Source: Anderson and Darling 1952, Annals of Mathematical Statistics 23:193-212, the supremum with the weight
    1 / (t (1 - t)), from 0.01 to 0.99 of the rows.
    """
    values = np.concatenate([reference_M, new_N])
    order = np.argsort(values, kind="stable")
    is_new = (order >= len(reference_M)).astype(np.float32)
    ordered = values[order]
    last_of_value = np.flatnonzero(ordered[1:] != ordered[:-1])  # the largest value says nothing: all are up to it
    up_to = (last_of_value + 1) / len(values)
    inside = (up_to >= END) & (up_to <= 1 - END)
    last_of_value, up_to = last_of_value[inside], up_to[inside, None]

    def statistic(is_new_RP: Array) -> Array:
        shares = np.cumsum(is_new_RP, axis=0, dtype=np.float64)[last_of_value] / len(new_N)
        found: Array = (np.abs(shares - up_to) / np.sqrt(up_to * (1 - up_to))).max(axis=0, initial=0.0)
        return found

    observed = float(statistic(is_new[:, None])[0])
    return Compared(observed, _p_value(statistic, is_new, observed, seed=seed, permutations=permutations))


def _p_value(
    statistic: Callable[[Array], Array], is_new_R: Array, observed: float, *, seed: int, permutations: int
) -> float:
    """The share of ways to call as many rows new whose statistic is as large, the observed one among them."""
    random = np.random.default_rng(seed)
    at_least = 0
    least = observed - 1e-9 * abs(observed)  # the same split may round otherwise
    for start in range(0, permutations, AT_ONCE):
        count = min(AT_ONCE, permutations - start)
        shuffled = random.permuted(np.repeat(is_new_R[:, None], count, axis=1), axis=0)
        at_least += int((statistic(shuffled) >= least).sum())
    return (1 + at_least) / (1 + permutations)


def shares_test(
    reference: Sequence[Hashable], new: Sequence[Hashable], *, seed: int, permutations: int = PERMUTATIONS
) -> Compared:
    """Whether kinds of values have other shares: chi-squared of the 2 x C table, its p-value by permutation.

    Unlike the one from the chi-squared distribution it holds for kinds with a handful of rows too.

    Source: Pearson's statistic with both margins fixed: Agresti 2013, Categorical Data Analysis, section 16.5.
    """
    before, after = Counter(reference), Counter(new)
    kinds = sorted({*before, *after}, key=repr)
    counts_C = np.array([before[kind] + after[kind] for kind in kinds])
    n, total = len(new), len(new) + len(reference)
    expected_C = counts_C * n / total
    scale_C = total / (total - n)  # both rows of the table differ from what is expected by the same numbers

    def statistic(new_PC: Array) -> Array:
        found: Array = ((new_PC - expected_C) ** 2 / expected_C).sum(axis=-1) * scale_C
        return found

    if len(kinds) == 1:
        return Compared(0.0, 1.0)
    observed = float(statistic(np.array([after[kind] for kind in kinds])))
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(counts_C, n, size=permutations, method="marginals")
    at_least = int((statistic(drawn) >= observed * (1 - 1e-12)).sum())  # the same table may round otherwise
    return Compared(observed, (1 + at_least) / (1 + permutations))
