"""The losses of vectors and the metrics of retrieval against sentence-transformers, scikit-learn and scipy."""

from __future__ import annotations

import pytest
import torch

from burnish.task.embedding_loss import cosent, ranking

reference = pytest.importorskip("sentence_transformers.sentence_transformer.losses")


def vectors_of(seed: int, rows: int = 12, texts: int = 2) -> torch.Tensor:
    return torch.randn(rows, texts, 8, generator=torch.Generator().manual_seed(seed), requires_grad=True)


@pytest.mark.parametrize("texts", [2, 3, 4])
@pytest.mark.parametrize("symmetric", [False, True])
def test_ranking(texts: int, symmetric: bool) -> None:
    """Losses and gradients, with distinct texts; the reference counts hard negatives once in both directions."""
    ours, theirs = vectors_of(texts, texts=texts), vectors_of(texts, texts=texts)
    directions = ("query_to_doc", "doc_to_query") if symmetric else ("query_to_doc",)
    loss = reference.MultipleNegativesRankingLoss(
        torch.nn.Identity(), scale=20.0, directions=directions, partition_mode="per_direction" if symmetric else "joint"
    )
    wanted = loss.compute_loss_from_embeddings([theirs[:, k] for k in range(texts)], None)
    found = ranking(ours, torch.arange(12 * texts).view(12, texts), scale=20.0, symmetric=symmetric).mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    found.backward()
    wanted.backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_cosent(seed: int) -> None:
    """Losses and gradients, with ties among the scores."""
    ours, theirs = vectors_of(seed), vectors_of(seed)
    scores = torch.randint(0, 6, (12,), generator=torch.Generator().manual_seed(seed)).double()
    loss = reference.CoSENTLoss(torch.nn.Identity(), scale=20.0)
    wanted = loss.compute_loss_from_embeddings([theirs[:, 0], theirs[:, 1]], scores)
    found = cosent(ours, scores, scale=20.0)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    found.backward()
    wanted.backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
