"""Hierarchical classification: branches of a tree, their losses and probabilities, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from burnish.errors import DataProblemError
from burnish.task.hierarchical import HierarchicalClassification

MakeTokenizer = Callable[[], Any]
LABELS = ("cards/broken", "cards/lost", "money/late/bank", "other")  # branches: cards, money, other; and money/late
LOGITS = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).log()  # probabilities 0.1, 0.2, 0.3, 0.4


@pytest.fixture
def task(make_tokenizer: MakeTokenizer) -> HierarchicalClassification:
    return HierarchicalClassification(make_tokenizer(), LABELS, max_length=8)


@pytest.mark.parametrize(
    ("label", "probabilities"),
    [
        (0, (0.1, 0.3, 0.1)),  # the label, its first branch, and itself again, which ends above the second level
        (1, (0.2, 0.3, 0.2)),
        (2, (0.3, 0.3, 0.3)),  # alone in all its branches
        (3, (0.4, 0.4, 0.4)),
    ],
)
def test_the_loss_is_the_mean_over_the_levels(
    task: HierarchicalClassification, label: int, probabilities: tuple[float, ...]
) -> None:
    found = task.losses(LOGITS, torch.tensor([label]), smoothing=0.0)
    assert found.tolist() == pytest.approx([-sum(map(math.log, probabilities)) / 3], rel=1e-6)


def test_a_miss_inside_the_branch_costs_less(task: HierarchicalClassification) -> None:
    """Both rows give their label 0.1; the first gives what is left to its sister, the second to another branch."""
    near = torch.tensor([[0.1, 0.88, 0.01, 0.01]]).log()
    far = torch.tensor([[0.1, 0.01, 0.88, 0.01]]).log()
    target = torch.tensor([0])
    assert task.losses(near, target, smoothing=0.0) < task.losses(far, target, smoothing=0.0)


def test_losses_of_the_caller_stay_as_they_are(make_tokenizer: MakeTokenizer) -> None:
    task = HierarchicalClassification(make_tokenizer(), LABELS, max_length=8, loss=lambda logits, _: logits[:, 0])
    assert task.losses(LOGITS, torch.tensor([1]), smoothing=0.0).tolist() == LOGITS[:, 0].tolist()


def test_branches_have_the_sum_of_their_labels(task: HierarchicalClassification) -> None:
    """The likeliest label need not be in the likeliest branch."""
    logits = torch.tensor([[0.3, 0.25, 0.05, 0.4]]).log()
    (found,) = task.predict(lambda _: logits, None)  # type: ignore[arg-type]  # the logits are there already
    assert found["label"] == "other"
    assert found["branches"] == {"cards": pytest.approx(0.55), "other": pytest.approx(0.4)}


@pytest.mark.parametrize("labels", [("lost", "broken"), ("cards/lost", "money/late")])
def test_labels_without_a_shared_branch(make_tokenizer: MakeTokenizer, labels: tuple[str, ...]) -> None:
    with pytest.raises(DataProblemError) as caught:
        HierarchicalClassification(make_tokenizer(), labels, max_length=8)
    assert caught.value.code == "data/no-branches"
    assert caught.value.message == "no two of the 2 labels are in one branch"
    assert caught.value.known == labels
    assert '"cards/lost" and "cards/broken"' in str(caught.value)
