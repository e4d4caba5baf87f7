"""One vector per text, and a head on top: by hand on small numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.model.pooled import SCALE, LinearHead, PooledClassifier, PooledEncoder


class Given:
    """A batch of two segments with three tokens in all, and the states of its tokens."""

    def hidden(self, _: nn.Module, at: str = "all") -> Tensor:
        states_TD = torch.tensor([[3.0, 0.0], [1.0, 4.0], [0.0, 5.0]], dtype=torch.float64)
        return states_TD[{"all": [0, 1, 2], "first": [0, 2], "last": [1, 2]}[at]]

    def mean(self, hidden_TD: Tensor) -> Tensor:
        return torch.stack([hidden_TD[:2].mean(0), hidden_TD[2]])


BATCH: Any = Given()
POOLED = {"mean": [[2.0, 2.0], [0.0, 5.0]], "first": [[3.0, 0.0], [0.0, 5.0]], "last": [[1.0, 4.0], [0.0, 5.0]]}


@pytest.mark.parametrize("pooling", POOLED)
def test_the_bases_own_pooling(pooling: str) -> None:
    encoder = PooledEncoder(nn.Identity(), pooling=pooling, normalize=False)
    assert encoder(BATCH).tolist() == POOLED[pooling]
    assert encoder(BATCH).dtype == torch.float32


def test_vectors_of_a_normalizing_base_have_length_1() -> None:
    encoder = PooledEncoder(nn.Identity(), pooling="mean", normalize=True)
    expected = [[math.sqrt(0.5), math.sqrt(0.5)], [0.0, 1.0]]
    assert torch.allclose(encoder(BATCH), torch.tensor(expected))


def test_a_classifier_gives_logits_of_its_head() -> None:
    head = LinearHead(2, 3, scale=1.0)
    head.set_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]), torch.tensor([0.5, 0.0, 0.0]))
    model = PooledClassifier(nn.Identity(), head, pooling="first", normalize=False)
    assert model(BATCH).tolist() == [[3.5, 0.0, 3.0], [0.5, 5.0, -5.0]]


def test_another_encoder_takes_the_place_of_the_old_one() -> None:
    model = PooledClassifier(nn.Identity(), nn.Identity(), pooling="mean", normalize=False)
    other = nn.Linear(2, 2)
    model.replace_core(other)
    assert model.encoder is other
    assert set(dict(model.named_parameters())) == {"base.encoder.weight", "base.encoder.bias"}


@pytest.mark.parametrize("scale", [1.0, SCALE])
def test_stored_weights_are_plain_whatever_the_scale(scale: float) -> None:
    head = LinearHead(4, 3, scale=scale)
    pooled_BD = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    plain = head.plain()
    assert set(plain) == {"weight", "bias"}
    by_hand = pooled_BD @ plain["weight"].T + plain["bias"]
    assert torch.allclose(head(pooled_BD), by_hand, atol=1e-5)  # the scale is multiplied in before or after the sum
    again = LinearHead(4, 3, scale=scale)
    again.set_(plain["weight"], plain["bias"])
    assert torch.allclose(again(pooled_BD), by_hand, atol=1e-5)


def rows(count: int = 60) -> tuple[Tensor, Tensor]:
    """Unit vectors around three directions."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.arange(count) % 3
    centres = torch.eye(3, 8)
    return F.normalize(centres[targets] + 0.3 * torch.randn(count, 8, generator=generator), dim=-1), targets


def test_the_start_is_a_nearest_centroid_classifier() -> None:
    pooled_BD, targets = rows()
    head = LinearHead(8, 3, scale=SCALE)
    head.start_from_centroids(pooled_BD, targets)
    mean_D = pooled_BD.mean(0)
    centred_CD = F.normalize(torch.stack([pooled_BD[targets == c].mean(0) for c in range(3)]) - mean_D, dim=-1)
    by_hand = ((pooled_BD - mean_D) @ centred_CD.T).argmax(1)
    assert head(pooled_BD).argmax(1).tolist() == by_hand.tolist()
    assert (by_hand == targets).float().mean() > 0.9


def test_the_start_is_as_sure_as_its_rows_allow() -> None:
    """No factor of the searched ones gives a smaller cross-entropy."""
    pooled_BD, targets = rows()
    head = LinearHead(8, 3, scale=SCALE)
    head.start_from_centroids(pooled_BD, targets)
    chosen = F.cross_entropy(head(pooled_BD), targets)
    for factor in (0.5, 0.8, 1.25, 2.0):
        assert chosen <= F.cross_entropy(factor * head(pooled_BD), targets) + 1e-4
    assert chosen < math.log(3)


def test_a_class_without_rows_starts_with_finite_weights() -> None:
    pooled_BD, targets = rows()
    head = LinearHead(8, 4, scale=SCALE)
    head.start_from_centroids(pooled_BD, targets)
    assert torch.isfinite(head(pooled_BD)).all()


def test_a_head_learns() -> None:
    head = LinearHead(2, 2, scale=SCALE)
    loss = F.cross_entropy(head(torch.eye(2)), torch.tensor([0, 1]))
    loss.backward()
    assert isinstance(head.linear.weight.grad, Tensor)
    assert not head.plain()["weight"].requires_grad
