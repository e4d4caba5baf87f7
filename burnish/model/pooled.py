"""One vector per segment from a base, and a classifier on top of it."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.types import Batch, Reads

READ = "read"  # no pooling: each token that a row names as read, for tasks that look at tokens
OWN = "own"  # the vector that the base itself makes of a row, as image models do
SCALE = 20.0  # cosine similarities reach ±1; softmax over them needs logits of this size (NormFace, arXiv:1704.06369)
_AT: dict[str, Reads] = {"first": "first", "last": "last", READ: "read", OWN: "own"}


class PooledEncoder(nn.Module):
    """A base with its own pooling: what a sentence encoder was trained to give.

    Args:
        encoder: transformers module that returns hidden states.
        pooling: "mean", "first" or "last" token of each segment, "read": the tokens that the rows name, or the
            encoder's "own".
        normalize: scale each vector to length 1.
    """

    def __init__(self, encoder: nn.Module, *, pooling: str, normalize: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.normalize = normalize

    @property
    def core(self) -> nn.Module:
        """What a method attaches to."""
        return self.encoder

    def replace_core(self, core: nn.Module) -> None:
        """Puts an adapted or merged base in the old one's place (a property setter would be bypassed by Module)."""
        self.encoder = core

    def forward(self, batch: Batch) -> Tensor:
        """(G, D) float32, one vector for each segment of the batch; without pooling (R, D), one for each token read."""
        if self.pooling == "mean":
            pooled_GD = batch.mean(batch.hidden(self.encoder)).float()
        else:
            pooled_GD = batch.hidden(self.encoder, at=_AT[self.pooling]).float()
        return F.normalize(pooled_GD, dim=-1) if self.normalize else pooled_GD

    def train(self, mode: bool = True) -> Self:
        """Batch norms keep the statistics of the base: those of a batch would make its rows depend on each other."""
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self


class PooledClassifier(nn.Module):
    """A base with its own pooling under a new head.

    Args:
        encoder: transformers module that returns hidden states.
        pooling, normalize: the base's own, see PooledEncoder.
        head: maps (B, D) pooled vectors to (B, C) logits.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, *, pooling: str, normalize: bool) -> None:
        super().__init__()
        self.base = PooledEncoder(encoder, pooling=pooling, normalize=normalize)
        self.head = head

    @property
    def encoder(self) -> nn.Module:
        return self.base.encoder

    @property
    def core(self) -> nn.Module:
        """What a method attaches to."""
        return self.base.encoder

    def replace_core(self, core: nn.Module) -> None:
        """Puts an adapted or merged base in the old one's place (a property setter would be bypassed by Module)."""
        self.base.encoder = core

    def forward(self, batch: Batch) -> Tensor:
        """(B, C) float32 logits."""
        logits_BC: Tensor = self.head(self.base(batch))
        return logits_BC.float()


class LinearHead(nn.Module):
    """Linear head over pooled vectors; over unit vectors a scaled one, so that softmax can become sure.

    Stored as `weight` (C, D) and `bias` (C,) with the scale multiplied in: logits = pooled @ weight.T + bias.
    """

    def __init__(self, width: int, classes: int, *, scale: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)
        self.scale = scale

    def forward(self, pooled_BD: Tensor) -> Tensor:
        logits_BC: Tensor = self.linear(pooled_BD * self.scale)
        return logits_BC

    @torch.no_grad()
    def set_(self, weight_CD: Tensor, bias_C: Tensor) -> None:
        """Takes plain weights, as they are stored."""
        self.linear.weight.copy_(weight_CD / self.scale)
        self.linear.bias.copy_(bias_C)

    def plain(self) -> dict[str, Tensor]:
        """Weights as they are stored."""
        return {"weight": self.linear.weight.detach() * self.scale, "bias": self.linear.bias.detach()}

    @torch.no_grad()
    def start_from_centroids(self, pooled_BD: Tensor, targets_B: Tensor) -> None:
        """Starts from the class means, so that training begins at a nearest-centroid classifier and not at noise.

        The means are centred, scaled to length 1 and then by the factor that gives the smallest cross-entropy when
        each row is left out of its own mean: a head that is too sure would pull the base apart in its first steps.

        Source: the head-first start of Kumar et al. 2022, arXiv:2202.10054, with the means as head.
        """
        classes = self.linear.out_features
        sums_CD = torch.zeros(classes, pooled_BD.shape[1]).index_add_(0, targets_B, pooled_BD)
        counts_C = torch.bincount(targets_B, minlength=classes).clamp(min=1)
        mean_D = pooled_BD.mean(0)
        centres_CD = F.normalize(sums_CD / counts_C[:, None] - mean_D, dim=-1)
        centred_BD = pooled_BD - mean_D
        logits_BC = self.scale * centred_BD @ centres_CD.T
        others_B = (counts_C[targets_B] - 1).clamp(min=1)
        without_BD = F.normalize((sums_CD[targets_B] - pooled_BD) / others_B[:, None] - mean_D, dim=-1)
        own_B1 = self.scale * (centred_BD * without_BD).sum(1, keepdim=True)
        left_out_BC = logits_BC.scatter(1, targets_B[:, None], own_B1)
        factors = torch.logspace(-2, 1, 31)
        losses = torch.stack([F.cross_entropy(factor * left_out_BC, targets_B) for factor in factors])
        factor = factors[losses.argmin()]
        self.linear.weight.copy_(factor * centres_CD)
        self.linear.bias.copy_(-factor * self.scale * centres_CD @ mean_D)
