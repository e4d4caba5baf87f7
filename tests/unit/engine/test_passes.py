"""Sums over the rows of a step, and which steps may be computed in pieces."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from burnish.engine.passes import Sums, can_be_cut
from burnish.types import LossTerm


class Rows:
    decomposable = True


class Whole:
    """The loss of a step needs all of its rows."""

    decomposable = False


class Compared(Whole):
    """All of its rows, and of each no more than its vector."""

    def represent(self) -> None: ...
    def loss_of(self) -> None: ...


@pytest.mark.parametrize(("task", "cut"), [(Rows(), True), (Whole(), False), (Compared(), True)])
def test_what_can_be_cut(task: Any, cut: bool) -> None:
    assert can_be_cut(task) is cut


def test_sums_of_micro_batches_and_of_what_their_task_logs() -> None:
    sums = Sums()
    sums.add(LossTerm(torch.tensor(3.0, requires_grad=True), 2.0, {"margin": 1.0}))
    sums.add(LossTerm(torch.tensor(0.5), 1.0, {"margin": 2.0, "length": 7.0}))
    sums.settle()
    assert sums == Sums(total=3.5, weight=3.0, extras={"margin": 3.0, "length": 7.0})
