"""Rows of texts that belong together as segments, what tells equal ones apart, and the two kinds of loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from burnish.method.full import Full
from burnish.task.embedding import Embedding, ScoredPairs, texts_of
from burnish.task.options import EmbeddingOptions
from burnish.testing import METHOD_CHECKS, TASK_CHECKS, embedding_subject_over
from burnish.types import Comparing, Encoded, Refusal

TRIPLET = {"negative": "late transfer", "positive": "lost card", "anchor": "where is my card"}


@pytest.fixture
def task(make_tokenizer: Callable[[], Any]) -> Embedding:
    return Embedding(make_tokenizer(), EmbeddingOptions(), max_length=8)


def encoded(task: Embedding, row: dict[str, Any]) -> Encoded:
    found = task.encode(row)
    assert isinstance(found, Encoded)
    return found


def test_texts_are_segments_the_anchor_first(task: Embedding) -> None:
    row = encoded(task, TRIPLET)
    assert row.segment_lengths == (7, 4, 4)  # "is" has two, [CLS] and [SEP] are there
    alone = [encoded(task, {"text": TRIPLET[name]}).token_ids for name in ("anchor", "positive", "negative")]
    assert row.token_ids.tolist() == np.concatenate(alone).tolist()
    assert (row.truncated_tokens, row.weight) == (0, 1.0)


def test_what_does_not_fit_is_counted(task: Embedding) -> None:
    row = encoded(task, {"anchor": "my card " * 5, "positive": "my card"})
    assert row.segment_lengths == (8, 4)
    assert row.truncated_tokens == 4


def test_texts_that_the_model_cannot_tell_apart_are_the_same(task: Embedding) -> None:
    """The tokenizer has no capital letters."""
    one = encoded(task, {"anchor": "My card", "positive": "lost card"}).targets
    other = encoded(task, {"anchor": "lost card", "positive": "my CARD"}).targets
    assert one.dtype == np.int64
    assert one.tolist() == other[::-1].tolist()
    assert one[0] != one[1]


def test_rows_of_a_label_mean_the_same(task: Embedding) -> None:
    one, other = (
        encoded(task, {"anchor": text, "positive": "my card", "label": label}).targets
        for text, label in (("late", "card"), ("cash", "late"))
    )
    assert len(set(one.tolist())) == len(set(other.tolist())) == 1
    assert one[0] != other[0]


def test_a_row_without_a_text_is_refused(task: Embedding) -> None:
    refused = task.encode({"body": "my card"})
    assert isinstance(refused, Refusal)
    assert refused.code == "task/no-tokens"


def test_scores_are_targets(make_tokenizer: Callable[[], Any]) -> None:
    task = ScoredPairs(make_tokenizer(), EmbeddingOptions(), max_length=8)
    row = encoded(task, {"first": "my card", "second": "lost card", "score": 3.5})
    assert (row.targets.dtype, row.targets.item()) == (np.float64, 3.5)
    assert np.isnan(encoded(task, {"first": "a", "second": "b"}).targets)  # when only predicting


@pytest.mark.parametrize("kind", [Embedding, ScoredPairs])
def test_shorter_vectors_count_as_much_as_the_whole(kind: type[Embedding], make_tokenizer: Callable[[], Any]) -> None:
    vectors = torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(8).view(4, 2) if kind is Embedding else torch.arange(4.0)

    def loss(given: torch.Tensor, *dimensions: int) -> float:
        task = kind(make_tokenizer(), EmbeddingOptions(dimensions=dimensions), max_length=8)
        term = task.loss_of(given, targets)
        assert term.weight == 4.0
        return term.total.item()

    wanted = (loss(vectors) + loss(vectors[..., :3]) + loss(vectors[..., :5])) / 3
    assert loss(vectors, 3, 5) == pytest.approx(wanted, rel=1e-6)


def test_it_is_compared_in_two_parts(task: Embedding) -> None:
    assert isinstance(task, Comparing)
    assert not task.decomposable


def test_a_package_gives_the_task_back(task: Embedding, make_tokenizer: Callable[[], Any]) -> None:
    task = Embedding(make_tokenizer(), EmbeddingOptions(dimensions=(4,)), max_length=7)
    assert task.describe() == {"dimensions": [4], "max_length": 7}
    assert Embedding.rebuilt(make_tokenizer(), task.describe()).describe() == task.describe()


def test_what_is_asked(task: Embedding) -> None:
    assert task.asked("my card") == {"text": "my card"}
    assert task.asked({"second": "b", "score": 1.0, "first": "a"}) == {"first": "a", "second": "b"}
    assert texts_of(TRIPLET) == ["where is my card", "lost card", "late transfer"]


@pytest.fixture(scope="module")
def scored_rows(toy_rows: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"first": one, "second": other, "score": float(index % 5)}
        for index, ((one, _), (other, _)) in enumerate(zip(toy_rows[:28], toy_rows[28:56], strict=True))
    ]


@pytest.mark.parametrize("check", TASK_CHECKS)
def test_scored_pairs_keep_what_a_task_promises(
    check: Callable[..., None], sentence_base: Path, scored_rows: list[dict[str, Any]]
) -> None:
    check(embedding_subject_over(str(sentence_base), scored_rows, EmbeddingOptions()))


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_scored_pairs_train_as_a_method_promises(
    check: Callable[..., None], sentence_base: Path, scored_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    check(embedding_subject_over(str(sentence_base), scored_rows, EmbeddingOptions()), Full(), tmp_path)
