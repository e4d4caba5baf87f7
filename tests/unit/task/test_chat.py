"""Conversations as rows of tokens: what is learned, what is refused, and what becomes of long ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.model.load import load_tokenizer
from burnish.model.template import find_template
from burnish.task.chat import Chat
from burnish.task.mask import Masker
from burnish.types import Encoded, Refusal

MakeChat = Callable[..., Chat]


@pytest.fixture(scope="module")
def make_chat(language_base: Path) -> MakeChat:
    masker = Masker(find_template(language_base, None), load_tokenizer(language_base))

    def make(max_length: int = 200, long_rows: Any = "drop") -> Chat:
        return Chat(masker, max_length=max_length, long_rows=long_rows)

    return make


def turns(*texts: str) -> dict[str, Any]:
    """A conversation of the user and the assistant in turn."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]}


def encoded(task: Chat, row: dict[str, Any]) -> Encoded:
    found = task.encode(row)
    assert isinstance(found, Encoded), found
    return found


def learned(task: Chat, row: dict[str, Any]) -> list[str]:
    """What is learned of each segment, as text."""
    decode = task.masker.tokenizer.decode
    return [decode(s.token_ids[s.learned].tolist(), skip_special_tokens=False) for s in task.segments(row)]


def test_the_place_before_each_learned_token_is_read(make_chat: MakeChat) -> None:
    task = make_chat()
    row = encoded(task, turns("ab", "cd", "e", "f"))
    assert row.read_positions is not None
    assert np.array_equal(row.token_ids[row.read_positions + 1], row.targets)
    assert task.masker.tokenizer.decode(row.targets.tolist(), skip_special_tokens=False) == " cd</s> f</s>"
    assert row.weight == len(row.targets) == 7
    assert row.segment_lengths == (row.length,)


def test_a_text_is_learned_whole_with_its_end(make_chat: MakeChat) -> None:
    task = make_chat(max_length=8)
    row = encoded(task, {"text": "abcdefghij"})
    assert row.segment_lengths == (8, 4), "pieces that the model can read"
    assert learned(task, {"text": "abcdefghij"}) == ["<s>abcdefg", "hij</s>"]
    assert row.weight == 7 + 3, "nothing stands before the first token of a piece"


def test_rows_that_cannot_be_learned_are_refused_with_a_reason(make_chat: MakeChat) -> None:
    silent = turns("a", "b")
    silent["messages"][1]["weight"] = 0
    found = make_chat().encode(silent)
    assert isinstance(found, Refusal)
    assert found.code == "chat/nothing-learned"


def long_row() -> dict[str, Any]:
    """Four exchanges of about 33 tokens each."""
    return turns("aaaa", "1111", "bbbb", "2222", "cccc", "3333", "dddd", "4444")


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("split", [" 1111</s> 2222</s>", " 3333</s> 4444</s>"]),
        ("drop-first-turns", [" 3333</s> 4444</s>"]),
        ("drop-last-turns", [" 1111</s> 2222</s>"]),
    ],
)
def test_long_conversations_are_cut_between_exchanges(make_chat: MakeChat, what: str, wanted: list[str]) -> None:
    task = make_chat(max_length=65, long_rows=what)
    assert learned(task, long_row()) == wanted
    assert max(encoded(task, long_row()).segment_lengths) <= 65


def test_the_system_speaks_before_every_part(make_chat: MakeChat) -> None:
    row = long_row()
    row["messages"].insert(0, {"role": "system", "content": "S"})
    task = make_chat(max_length=80, long_rows="split")
    decode = task.masker.tokenizer.decode
    shown = [decode(s.token_ids.tolist(), skip_special_tokens=False) for s in task.segments(row)]
    assert len(shown) > 1
    assert all(text.startswith("<s>system: S\nuser: ") for text in shown)


@pytest.mark.parametrize("what", ["drop", "split", "drop-first-turns", "drop-last-turns"])
def test_a_turn_is_never_cut(make_chat: MakeChat, what: str) -> None:
    found = make_chat(max_length=20, long_rows=what).encode(turns("a" * 30, "b" * 30))
    assert isinstance(found, Refusal)
    assert (found.code, found.reason) == ("chat/too-long", "81 tokens; 20 are read")
