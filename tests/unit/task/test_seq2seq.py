"""Sources and targets as tokens: what each stack is given, what is learned, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.model.load import load_tokenizer
from burnish.model.marks import find_marks
from burnish.task.seq2seq import Seq2Seq
from burnish.types import Encoded, Refusal


@pytest.fixture
def task(seq2seq_base: Path) -> Seq2Seq:
    """Bytes as tokens, start 0, end 1; sources of up to 8 tokens, targets of up to 5."""
    return Seq2Seq(load_tokenizer(seq2seq_base), find_marks(seq2seq_base), max_length=8, max_target_length=5)


def test_the_target_is_moved_right_by_the_start_token(task: Seq2Seq) -> None:
    a, b, c = (task.tokenizer.token_to_id(letter) for letter in "abc")
    row = task.encode({"source": "ab", "target": "ca"})
    assert isinstance(row, Encoded)
    assert row.token_ids.tolist() == [a, b, 1, 0, c, a]  # a source with its end, then start, c, a
    assert row.segment_lengths == (3, 3)
    assert row.targets.tolist() == [c, a, 1]  # the end of the text is learned too
    assert row.read_positions is not None
    assert row.read_positions.tolist() == [3, 4, 5]
    assert row.weight == 3.0


def test_an_end_that_the_tokenizer_leaves_out_is_added(make_seq2seq_base: Callable[..., Path]) -> None:
    folder = make_seq2seq_base()
    tokenizer = load_tokenizer(folder)
    tokenizer.post_processor = None
    task = Seq2Seq(tokenizer, find_marks(folder), max_length=8, max_target_length=8)
    assert task.target_ids("a")[-1] == 1
    assert task.source_ids("a") == task.target_ids("a")[:1]


@pytest.mark.parametrize(
    ("source", "target", "code", "reason"),
    [
        ("abcdefgh", "a", "seq2seq/too-long", "the source has 9 tokens; 8 are read"),
        ("a", "abcde", "seq2seq/too-long", "the target has 6 tokens; 5 are written"),
        (" ", "a", "seq2seq/no-source", "the source has no tokens"),
        ("a", "\n", "seq2seq/no-target", "the target is empty: there is nothing to learn"),
    ],
)
def test_refused_rows(task: Seq2Seq, source: str, target: str, code: str, reason: str) -> None:
    assert task.encode({"source": source, "target": target}) == Refusal(code, reason)


def test_a_target_that_just_fits(task: Seq2Seq) -> None:
    row = task.encode({"source": "abcdefg", "target": "abcd"})
    assert isinstance(row, Encoded)
    assert row.segment_lengths == (8, 5)
