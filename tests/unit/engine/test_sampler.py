"""The order of rows is a function of seed and epoch, and nothing is lost in it."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from burnish.engine.sampler import WINDOW, epoch_batches, micro_batches, tokens_at_once

lengths_ = st.lists(st.integers(1, 50), min_size=1, max_size=120)
sizes = st.integers(1, 20)
seeds = st.integers(0, 2**31 - 1)
epochs = st.integers(0, 1000)


@given(lengths=lengths_, batch_size=sizes, seed=seeds, epoch=epochs)
def test_each_row_comes_once_an_epoch(lengths: list[int], batch_size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths, batch_size=batch_size, seed=seed, epoch=epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)  # what the number of steps is counted with
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)


@given(lengths=lengths_, batch_size=sizes, seed=seeds, epoch=epochs)
def test_the_order_is_a_pure_function_of_seed_and_epoch(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    first = epoch_batches(lengths, batch_size=batch_size, seed=seed, epoch=epoch)
    np.random.seed(1)  # the state of other generators does not matter
    assert list(first) == list(epoch_batches(lengths, batch_size=batch_size, seed=seed, epoch=epoch))


def test_seeds_and_epochs_give_different_orders() -> None:
    lengths = list(range(1, 101))
    orders = {
        str([*epoch_batches(lengths, batch_size=4, seed=seed, epoch=epoch)]) for seed in range(5) for epoch in range(5)
    }
    assert len(orders) == 25


def test_the_order_is_the_same_on_every_machine() -> None:
    """Written down once; a change of it changes every run."""
    batches = epoch_batches([3, 1, 2, 5, 4], batch_size=2, seed=13, epoch=0)
    assert list(batches) == [[0, 4], [1, 2], [3]]
    assert list(batches[1:]) == [[1, 2], [3]]


def test_rows_of_a_batch_are_of_similar_length() -> None:
    """Within a window of 8 batches the rows are sorted: 8 batches of 10 from 80 rows lie side by side in length."""
    lengths = np.random.default_rng(0).permutation(WINDOW * 10).tolist()
    batches = epoch_batches(lengths, batch_size=10, seed=0, epoch=0)
    assert all(sorted(lengths[i] for i in batch)[-1] - min(lengths[i] for i in batch) == 9 for batch in batches)


def test_windows_keep_batches_mixed() -> None:
    """Rows are shuffled before they are sorted, so that two epochs do not meet in the same batches."""
    lengths = [1 + i % 40 for i in range(640)]
    first, second = (
        {frozenset(batch) for batch in epoch_batches(lengths, batch_size=8, seed=1, epoch=epoch)} for epoch in (0, 1)
    )
    assert not first & second


def test_batches_do_not_come_in_order_of_length() -> None:
    lengths = list(range(1, 1 + 8 * WINDOW))
    batches = epoch_batches(lengths, batch_size=8, seed=0, epoch=0)
    means = [np.mean([lengths[i] for i in batch]) for batch in batches]
    assert means != sorted(means)


@given(lengths=lengths_, limit=st.integers(16, 200))
def test_pieces_keep_order_rows_and_limit(lengths: list[int], limit: int) -> None:
    rows = list(reversed(range(len(lengths))))
    pieces = micro_batches(rows, lengths, max_tokens=limit)
    assert [row for piece in pieces for row in piece] == rows
    assert all(sum(lengths[i] for i in piece) <= limit or len(piece) == 1 for piece in pieces)
    for before, after in itertools.pairwise(pieces):  # and no piece is smaller than it need be
        assert sum(lengths[i] for i in before) + lengths[after[0]] > limit


def test_a_row_longer_than_the_limit_stands_alone() -> None:
    assert micro_batches([0, 1, 2], [3, 20, 3], max_tokens=10) == [[0], [1], [2]]


def test_what_all_rows_begin_with_is_counted_once_in_a_piece() -> None:
    lengths = [30, 25, 28, 60, 22]
    assert micro_batches(range(5), lengths, max_tokens=60) == [[0, 1], [2], [3], [4]]
    # 20 and 10 + 5 + 8; 20 and 40; 20 and 2
    assert micro_batches(range(5), lengths, max_tokens=60, shared=20) == [[0, 1, 2], [3], [4]]


def test_a_cpu_computes_more_tokens_at_once_where_many_weights_learn() -> None:
    """Each piece of a step has a gradient as large as they are."""
    cpu = torch.device("cpu")
    assert tokens_at_once(None, cpu) == tokens_at_once(None, cpu, learned=10**6) == 1_024
    assert tokens_at_once(None, cpu, learned=10**8) == 2_048
    assert tokens_at_once(None, cpu, compared=True) == 4_096
    assert tokens_at_once(512, cpu, compared=True, learned=10**8) == 512
    assert tokens_at_once(None, torch.device("cuda"), learned=10**10) == 16_384
