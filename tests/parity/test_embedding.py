"""The losses of vectors and the metrics of retrieval against sentence-transformers, scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import ndcg_score

from burnish.evaluation.metrics.correlation import Spearman
from burnish.evaluation.metrics.resampling import value_of
from burnish.evaluation.metrics.retrieval import RETRIEVAL_METRICS
from burnish.evaluation.similarity import Search
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


@pytest.mark.parametrize("seed", range(4))
def test_spearman(seed: int) -> None:
    """With ties on both sides."""
    random = np.random.default_rng(seed)
    given, found = random.integers(0, 6, 80).astype(float), random.normal(size=80).round(1)
    assert value_of(Spearman(), given.tolist(), found.tolist()) == pytest.approx(spearmanr(given, found).statistic)


@pytest.mark.parametrize("seed", range(3))
def test_a_search(seed: int) -> None:
    """200 queries over 60 documents, each relevant to some: ndcg of scikit-learn, the others by brute force."""
    random = np.random.default_rng(seed)
    scores, relevant = random.normal(size=(200, 60)).astype(np.float32), random.random((200, 60)) < 0.08
    relevant[:, 0] |= ~relevant.any(axis=1)
    search = Search(
        queries=[""] * 200,
        documents=[""] * 60,
        relevant=[np.flatnonzero(row) for row in relevant],
        itself=[None] * 200,
        rows=list(range(200)),
    )
    found = search.answers(scores, np.eye(60, dtype=np.float32))
    counts = relevant.sum(axis=1).tolist()
    values = {metric.name: value_of(metric(), counts, found) for metric in RETRIEVAL_METRICS}
    assert values["ndcg@10"] == pytest.approx(ndcg_score(relevant, scores, k=10))
    order = np.argsort(-scores, axis=1)
    first = [next(place for place in range(60) if row[at[place]]) for row, at in zip(relevant, order, strict=True)]
    assert values["recall@1"] == pytest.approx(np.mean([place < 1 for place in first]))
    assert values["recall@10"] == pytest.approx(np.mean([place < 10 for place in first]))
    assert values["mrr@10"] == pytest.approx(np.mean([1 / (place + 1) if place < 10 else 0 for place in first]))
