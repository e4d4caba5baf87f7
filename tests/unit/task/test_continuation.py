"""What follows a text, token by token, as probes are asked."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import Tokenizer

from burnish.task.continuation import encode_continuation


def test_only_the_continuation_is_read(make_tokenizer: Callable[[], Tokenizer]) -> None:
    """Begin, the words "my card", then " late cash": two targets, foreseen from the tokens before them."""
    tokenizer = make_tokenizer()
    begin, my, card, late, cash = map(tokenizer.token_to_id, ("[CLS]", "my", "card", "late", "cash"))
    row = encode_continuation(tokenizer, begin, "my card", " late cash")
    assert row.token_ids.tolist() == [begin, my, card, late, cash]
    assert row.targets.tolist() == [late, cash]
    assert row.read_positions is not None
    assert row.read_positions.tolist() == [2, 3]
    assert (row.segment_lengths, row.weight) == ((5,), 2.0)


def test_a_whole_text_is_read_from_its_beginning(make_tokenizer: Callable[[], Tokenizer]) -> None:
    tokenizer = make_tokenizer()
    begin, my, card = map(tokenizer.token_to_id, ("[CLS]", "my", "card"))
    assert encode_continuation(tokenizer, begin, "", "my card").targets.tolist() == [my, card]
    assert encode_continuation(tokenizer, None, "", "my card").targets.tolist() == [card], "nothing before the first"
    assert encode_continuation(tokenizer, None, "", "my").weight == 0


def test_a_token_across_the_border_belongs_to_the_continuation(make_tokenizer: Callable[[], Tokenizer]) -> None:
    """ "car" and "d" are one word, which the tokenizer does not cut where the prompt ends."""
    tokenizer = make_tokenizer()
    my, card = map(tokenizer.token_to_id, ("my", "card"))
    row = encode_continuation(tokenizer, None, "my car", "d")
    assert row.token_ids.tolist() == [my, card]
    assert row.targets.tolist() == [card]
