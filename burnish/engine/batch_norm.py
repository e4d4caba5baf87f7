"""Batch norms that know what the images to learn look like, and then stay as they are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from burnish.types import Batch


@torch.no_grad()
def restate_batch_norms(model: nn.Module, batches: Iterable[Batch]) -> int:
    """Gives the batch norms of a model the mean and variance of these rows; returns how many it has.

    Each keeps the mean over the batches, so these should be alike. A base from photographs otherwise scales images of
    another kind by the brightness of photographs, and hardly learns. Afterwards they are fixed: in training, too, a
    row's loss does not depend on its neighbours.

    Source: Li et al. 2016, "Revisiting Batch Normalization For Practical Domain Adaptation", arXiv:1603.04779.
    """
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for batch in batches:
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return len(norms)
