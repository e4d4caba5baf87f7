"""Windows, targets and spans of question answering, written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from burnish.task.question_answering import QuestionAnswering
from burnish.types import Encoded, Refusal


@pytest.fixture
def make_task(make_tokenizer: Callable[[], Tokenizer]) -> Callable[..., QuestionAnswering]:
    return lambda max_length=16: QuestionAnswering(make_tokenizer(), max_length=max_length)


def encoded(task: QuestionAnswering, **row: Any) -> Encoded:
    result = task.encode(row)
    assert isinstance(result, Encoded)
    return result


def test_one_window(make_task: Callable[..., QuestionAnswering]) -> None:
    row = encoded(make_task(), question="where", context="my lost card", answers=[("lost card", 3)])
    # [CLS] where [SEP] my lost card [SEP]
    assert row.segment_lengths == (7,)
    assert row.read_positions is not None
    assert row.read_positions.tolist() == [0, 3, 4, 5]
    assert row.targets.tolist() == [[0, 0, 0, -1], [0, 0, 2, 0], [1, 3, 7, 0], [2, 8, 12, 0]]
    assert row.token_types is not None
    assert row.token_types.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_a_long_context_is_read_in_windows_that_overlap(make_task: Callable[..., QuestionAnswering]) -> None:
    words = ["my", "lost", "card", "the", "late", "refund", "where", "money"]
    row = encoded(make_task(8), question="where", context=" ".join(words), answers=[("late", 17)])
    # four places for the context, two of them shared: words 0-3, 2-5, 4-7
    assert row.segment_lengths == (8, 8, 8)
    assert row.targets[:, 3].tolist() == [-1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    late = [place for place, target in enumerate(row.targets.tolist()) if target[0]]
    assert [row.targets[place].tolist() for place in late] == [[3, 17, 21, 1], [3, 17, 21, 2]]


def test_no_answer_stands_at_the_first_token(make_task: Callable[..., QuestionAnswering]) -> None:
    row = encoded(make_task(), question="where", context="my card", answers=[])
    assert row.targets[:, 0].tolist() == [3, 0, 0]


def test_a_question_that_leaves_no_room_is_refused(make_task: Callable[..., QuestionAnswering]) -> None:
    refusal = make_task().encode({"question": "card " * 14, "context": "my card", "answers": []})
    assert isinstance(refusal, Refusal)
    assert refusal.code == "task/long-question"
    assert "16 tokens" in refusal.reason


class Laid:
    """A batch of one row."""

    row_count = 1

    def __init__(self, targets: list[list[int]]) -> None:
        self.targets = torch.tensor(targets)
        self.read_counts = (len(targets),)


class Fixed(torch.nn.Module):
    """A model with these logits."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.logits


TARGETS = [[0, 0, 0, -1], [1, 0, 2, 0], [2, 3, 7, 0], [3, 3, 7, 1]]


def test_loss_is_minus_log_of_all_right_places_together(make_task: Callable[..., QuestionAnswering]) -> None:
    term = make_task().loss(Fixed([[0.0, 0.0]] * 4), Laid(TARGETS))  # type: ignore[arg-type]
    assert term.total.item() == pytest.approx(2 * np.log(4 / 2))
    assert term.weight == 1.0


@pytest.mark.parametrize(
    ("logits", "span"),
    [
        ([[9, 9], [0, 0], [0, 0], [0, 0]], (0, 0)),  # no answer
        ([[0, 0], [9, 0], [0, 9], [0, 0]], (0, 7)),
        ([[0, 0], [0, 9], [9, 1], [0, 8]], (3, 7)),  # an end before its start is none
        ([[0, 0], [9, 0], [0, 0], [0, 9]], (0, 2)),  # nor is one in another window; of equal spans the shortest
    ],
)
def test_the_best_span_lies_in_one_window(
    make_task: Callable[..., QuestionAnswering], logits: list[list[float]], span: tuple[int, int]
) -> None:
    (row,) = make_task().predict(Fixed([[float(x) for x in pair] for pair in logits]), Laid(TARGETS))  # type: ignore[arg-type]
    assert (row["begin"], row["end"]) == span
    assert 0 < row["probability"] <= 1
    shown = make_task().shown({"context": "my lost card"}, row)
    assert shown["answer"] == "my lost card"[span[0] : span[1]]
