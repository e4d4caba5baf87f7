"""Batch norms take the statistics of the rows they are given, once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.batch_norm import restate_batch_norms


class Normed(nn.Module):
    """A model of one batch norm over a batch that is its own pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, batch: Any) -> Tensor:
        found: Tensor = self.norm(batch)
        return found


def test_they_are_the_means_over_the_batches() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(8, 3, 4, 4) * 5 + 2 for _ in range(3)]
    model = Normed().eval()
    assert restate_batch_norms(model, batches) == 1  # type: ignore[arg-type]
    assert model.norm.running_mean is not None
    assert model.norm.running_var is not None
    means, variances = (torch.stack([f(b) for b in batches]) for f in (_mean, _variance))
    assert torch.allclose(model.norm.running_mean, means.mean(0), atol=1e-5)
    assert torch.allclose(model.norm.running_var, variances.mean(0), rtol=1e-4)
    assert not model.norm.training
    assert model.norm.momentum == pytest.approx(0.1)


def test_a_model_without_them_is_not_run() -> None:
    assert restate_batch_norms(nn.Linear(2, 2), [None]) == 0  # type: ignore[list-item]


def _mean(batch: Tensor) -> Tensor:
    return batch.mean((0, 2, 3))


def _variance(batch: Tensor) -> Tensor:
    return batch.var((0, 2, 3))
