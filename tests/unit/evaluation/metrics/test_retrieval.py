"""What each metric of a search says of places worked out by hand."""

from __future__ import annotations

import math

import pytest

from burnish.evaluation.metrics import create_metric
from burnish.evaluation.metrics.resampling import measured, value_of
from burnish.evaluation.metrics.retrieval import RETRIEVAL_METRICS


@pytest.mark.parametrize(
    ("relevant", "places", "wanted"),
    [
        (1, (1,), {"recall@1": 1, "recall@10": 1, "ndcg@10": 1, "mrr@10": 1}),
        (1, (3,), {"recall@1": 0, "recall@10": 1, "ndcg@10": 1 / 2, "mrr@10": 1 / 3}),
        (1, (), {"recall@1": 0, "recall@10": 0, "ndcg@10": 0, "mrr@10": 0}),
        (2, (1, 3), {"recall@1": 1, "recall@10": 1, "ndcg@10": 1.5 / (1 + 1 / math.log2(3)), "mrr@10": 1}),
        (50, tuple(range(1, 11)), {"recall@1": 1, "recall@10": 1, "ndcg@10": 1, "mrr@10": 1}),
        (50, (10,), {"recall@1": 0, "recall@10": 1, "ndcg@10": 1 / math.log2(11) / 4.5436, "mrr@10": 0.1}),
    ],
)
def test_one_query(relevant: int, places: tuple[int, ...], wanted: dict[str, float]) -> None:
    found = {metric.name: metric().score(relevant, places) for metric in RETRIEVAL_METRICS}
    assert found == pytest.approx(wanted, rel=1e-4)


def test_the_mean_over_queries_with_its_interval() -> None:
    references, places = [1] * 40, [(1,)] * 30 + [()] * 10
    found = measured(create_metric("recall@1", ()), references, places)
    assert (found.value, found.n) == (0.75, 40)
    assert found.low is not None
    assert found.high is not None
    assert 0.59 < found.low < 0.75 < found.high < 0.87
    assert value_of(create_metric("mrr@10", ()), references, [(2,)] * 40) == pytest.approx(0.5)


def test_shards_combine() -> None:
    whole, one, other = (create_metric("ndcg@10", ()) for _ in range(3))
    predictions, references = [{"label": (1, 4)}, {"label": (2,)}, {"label": ()}], [{"label": 2}] * 3
    whole.update(predictions, references)
    one.update(predictions[:1], references[:1])
    other.update(predictions[1:], references[1:])
    one.merge(other)
    assert one.compute() == whole.compute()
