"""The rows of recommendations: which choices are wrong answers, what is asked, and which class is for which rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from burnish.model.load import load_tokenizer
from burnish.task.embedding import Embedding, ScoredPairs
from burnish.task.embedding_loss import ranking
from burnish.task.options import EmbeddingOptions
from burnish.task.recommendation import Recommendation, class_for
from burnish.types import Encoded


@pytest.fixture
def task(sentence_base: Path) -> Recommendation:
    return Recommendation(load_tokenizer(sentence_base), EmbeddingOptions(), max_length=16)


def encoded(task: Recommendation, user: str, item: str) -> Encoded:
    found = task.encode({"user": user, "anchor": "my card", "positive": item})
    assert isinstance(found, Encoded)
    return found


def test_targets_tell_users_and_items_apart(task: Recommendation) -> None:
    anna, again, ben = (encoded(task, *said).targets for said in (("a", "cash"), ("a", "card"), ("b", "cash")))
    assert anna.dtype == np.int64
    assert anna[0] == again[0] != ben[0]
    assert anna[1] == ben[1] != again[1]
    query = task.encode({"text": "my card"})
    assert isinstance(query, Encoded)
    assert query.targets.shape == (1,)


def test_choices_of_the_same_user_are_no_wrong_answers(task: Recommendation) -> None:
    """All vectors alike: the loss is ln of how many candidates are left, the own one included."""
    import torch

    rows = [("a", "cash"), ("a", "card"), ("b", "refund"), ("c", "cash")]
    targets = torch.from_numpy(np.stack([encoded(task, *row).targets for row in rows]))
    losses = ranking(torch.ones(4, 2, 3), targets, scale=20.0, symmetric=False)
    # a's cash: itself, refund (card is a's own, the other cash the same item); b's refund: all four
    assert losses.exp().tolist() == pytest.approx([2, 3, 4, 3])


def test_what_is_asked(task: Recommendation) -> None:
    assert task.asked({"items": ["bread", "butter"]}) == {"text": "butter; bread"}
    assert task.asked("bread") == {"text": "bread"}
    assert task.asked(task.asked({"items": ["bread", "butter"]})) == {"text": "butter; bread"}


@pytest.mark.parametrize("items", [None, [], "bread", [3], [" "]])
def test_what_is_no_history(task: Recommendation, items: object) -> None:
    assert task.asked({"items": items}) == {}


def test_which_class_is_for_which_rows() -> None:
    assert class_for({"user": "a", "item": "1", "time": 3.0}) is Recommendation
    assert class_for({"first": "a", "second": "b", "score": 1.0}) is ScoredPairs
    assert class_for({"anchor": "a", "positive": "b"}) is Embedding
