"""The losses of vectors against values computed by hand; tests/parity/test_embedding.py has the reference library."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.task.embedding_loss import cosent, ranking, shortened

DIFFERENT = torch.tensor([[1, 2], [3, 4]])
EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]


def rows(*texts: list[list[float]]) -> Tensor:
    return torch.tensor(texts)


def ranked(vectors: Tensor, identities: Tensor, *, scale: float = 1.0, symmetric: bool = False) -> list[float]:
    found: list[float] = ranking(vectors, identities, scale=scale, symmetric=symmetric).tolist()
    return found


def test_the_other_positives_are_wrong_answers() -> None:
    """Cosines 1 with its own and 0 with the other: -1 + ln(e + 1)."""
    vectors = rows([EAST, EAST], [NORTH, NORTH])
    assert ranked(vectors, DIFFERENT) == pytest.approx([math.log(1 + math.exp(-1))] * 2)
    assert ranked(vectors, DIFFERENT, scale=20) == pytest.approx([math.log1p(math.exp(-20))] * 2, abs=1e-7)


def test_lengths_of_vectors_do_not_count() -> None:
    vectors = rows([EAST, EAST], [NORTH, NORTH])
    assert ranked(7 * vectors, DIFFERENT) == pytest.approx(ranked(vectors, DIFFERENT))


def test_a_negative_is_a_wrong_answer_to_every_row() -> None:
    """The first anchor sees cosines 1, 0, -1 and 0; the second 0, 1, 0 and 1."""
    vectors = rows([EAST, EAST, WEST], [NORTH, NORTH, NORTH])
    identities = torch.tensor([[1, 2, 3], [4, 5, 6]])
    first = math.log(math.e + 1 + math.exp(-1) + 1) - 1
    second = math.log(1 + math.e + 1 + math.e) - 1
    assert ranked(vectors, identities) == pytest.approx([first, second])


@pytest.mark.parametrize(
    "identities",
    [
        [[1, 2], [1, 4]],  # two positives of one anchor
        [[1, 2], [3, 2]],  # one positive of two anchors
        [[1, 1], [1, 1]],  # rows of one label
    ],
)
def test_what_means_the_same_is_no_wrong_answer(identities: list[list[int]]) -> None:
    vectors = rows([EAST, NORTH], [NORTH, EAST])
    for symmetric in (False, True):
        assert ranked(vectors, torch.tensor(identities), symmetric=symmetric) == pytest.approx([0.0, 0.0], abs=1e-6)


def test_another_rows_positive_that_is_the_anchor_itself() -> None:
    """The second row's positive is the first anchor's text; the other way round it is a wrong answer."""
    found = ranked(rows([EAST, EAST], [NORTH, EAST]), torch.tensor([[1, 2], [3, 1]]))
    assert found == pytest.approx([0.0, math.log(2)], abs=1e-6)


def test_both_directions() -> None:
    """Anchors find both positives alike (ln 2); of the first positive's anchors the second is the nearer one."""
    vectors = rows([EAST, NORTH], [NORTH, NORTH])
    there = [math.log(2), math.log(2)]
    back = [math.log(1 + math.e), math.log(1 + math.e) - 1]
    assert ranked(vectors, DIFFERENT) == pytest.approx(there)
    wanted = [(one + other) / 2 for one, other in zip(there, back, strict=True)]
    assert ranked(vectors, DIFFERENT, symmetric=True) == pytest.approx(wanted)


def test_a_row_alone_costs_nothing() -> None:
    vectors: Any = rows([EAST, NORTH]).requires_grad_()
    loss = ranking(vectors, torch.tensor([[1, 2]]), scale=20, symmetric=True).sum()
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert vectors.grad.abs().max().item() == pytest.approx(0.0, abs=1e-6)


def test_pairs_in_the_wrong_order_cost_something() -> None:
    """The pair called more alike has cosine 0, the other 1: ln(1 + e)."""
    wrong = rows([EAST, NORTH], [EAST, EAST])
    scores = torch.tensor([5.0, 1.0])
    assert cosent(wrong, scores, scale=1.0).item() == pytest.approx(math.log(1 + math.e))
    assert cosent(wrong.flip(0), scores, scale=1.0).item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_equal_scores_are_not_compared() -> None:
    assert cosent(rows([EAST, NORTH], [EAST, EAST]), torch.tensor([2.0, 2.0]), scale=20).item() == 0.0


def test_only_the_order_of_scores_counts() -> None:
    vectors = torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(0))
    scores = torch.tensor([0.0, 1.0, 1.0, 3.0, 4.5, 5.0])
    assert cosent(vectors, scores, scale=20) == cosent(vectors, scores**3 - 7, scale=20)


def test_shorter_vectors_are_the_first_numbers() -> None:
    whole = torch.arange(12.0).view(1, 2, 6)
    assert [vectors.shape[-1] for vectors in shortened(whole, (4, 2))] == [6, 4, 2]
    assert shortened(whole, (2,))[1].tolist() == [[[0.0, 1.0], [6.0, 7.0]]]
