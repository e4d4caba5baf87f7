"""Which sub-words are read for which token, written out by hand; loss, predictions and spans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from burnish.task.token_classification import UNKNOWN, UNREAD, TokenClassification
from burnish.types import Encoded, Refusal

LABELS = ("B-thing", "I-thing", "O")


@pytest.fixture
def make_task(make_tokenizer: Callable[[], Tokenizer]) -> Callable[..., TokenClassification]:
    return lambda **options: TokenClassification(make_tokenizer(), LABELS, **{"max_length": 16, **options})


def encoded(task: TokenClassification, tokens: list[str], tags: list[str] | None = None) -> Encoded:
    result = task.encode({"tokens": tokens} | ({} if tags is None else {"tags": tags}))
    assert isinstance(result, Encoded)
    return result


def test_each_token_is_read_at_its_first_sub_word(make_task: Callable[..., TokenClassification]) -> None:
    row = encoded(make_task(), ["card", "xyz", "my"], ["B-thing", "O", "O"])
    # [CLS] card x ##y ##z my [SEP]
    assert row.read_positions is not None
    assert row.read_positions.tolist() == [1, 2, 5]
    assert row.targets.tolist() == [0, 2, 2]
    assert (row.length, row.weight, row.truncated_tokens) == (7, 3.0, 0)


def test_tokens_behind_the_limit_are_not_learned(make_task: Callable[..., TokenClassification]) -> None:
    row = encoded(make_task(max_length=4), ["card", "my", "cash"], ["B-thing", "O", "B-thing"])
    assert row.read_positions is not None
    assert row.read_positions.tolist() == [1, 2, 0]
    assert row.targets.tolist() == [0, 2, UNREAD]
    assert (row.weight, row.truncated_tokens) == (2.0, 1)


def test_a_token_that_is_nothing_to_the_tokenizer_is_not_learned(
    make_task: Callable[..., TokenClassification],
) -> None:
    row = encoded(make_task(), ["card", "\u200b", "my"], ["B-thing", "O", "O"])
    assert row.targets.tolist() == [0, UNREAD, 2]


def test_without_tags_every_token_is_asked_for(make_task: Callable[..., TokenClassification]) -> None:
    assert encoded(make_task(), ["card", "my"]).targets.tolist() == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"tokens": ["my"], "tags": ["B-thin"]}, "data/unknown-label"),
        ({"tokens": ["\u200b"], "tags": ["O"]}, "task/no-tokens"),
    ],
)
def test_refusals(make_task: Callable[..., TokenClassification], row: dict[str, Any], code: str) -> None:
    refusal = make_task().encode(row)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    if code == "data/unknown-label":
        assert refusal.reason == '"B-thin" is no tag of this model, did you mean "B-thing"?'


class Laid:
    """A batch of two rows, of two and one tokens."""

    row_count, read_counts = 2, (2, 1)

    def __init__(self, targets: list[int]) -> None:
        self.targets = torch.tensor(targets)


class Fixed(torch.nn.Module):
    """A model with these logits."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.logits


def test_loss_is_the_sum_over_the_tokens_that_are_read(make_task: Callable[..., TokenClassification]) -> None:
    model = Fixed([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).eval()
    term = make_task().loss(model, Laid([0, UNREAD, 2]))  # type: ignore[arg-type]
    assert term.total.item() == pytest.approx(2 * np.log(3))
    assert term.weight == 2.0


def test_a_token_that_is_not_read_is_outside(make_task: Callable[..., TokenClassification]) -> None:
    model = Fixed([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    rows = make_task().predict(model, Laid([0, UNREAD, -1]))  # type: ignore[arg-type]
    assert [row["tags"] for row in rows] == [["B-thing", "O"], ["I-thing"]]
    assert rows[0]["probabilities"][1] == 1.0
    assert rows[0]["probabilities"][0] == pytest.approx(1.0, abs=1e-3)


def test_a_prediction_shows_what_the_tags_mark(make_task: Callable[..., TokenClassification]) -> None:
    task = make_task()
    row = task.asked("my card!")
    assert row == {"tokens": ["my", "card", "!"]}
    shown = task.shown(row, {"tags": ["O", "B-thing", "I-thing"], "probabilities": [1.0, 0.5, 0.7]})
    assert shown["spans"] == [
        {"kind": "thing", "text": "card !", "begin": 1, "end": 3, "probability": pytest.approx(0.6)}
    ]
