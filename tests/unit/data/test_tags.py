"""Spans of tags, in every scheme and however badly they are spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.tags import Span, is_scheme, kind_of, spans


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O", []),
        ("B-a I-a O", [("a", 0, 2)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("I-a I-a", [("a", 0, 2)]),  # IOB1: an entity may begin with I
        ("I-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("B-a I-b", [("a", 0, 1), ("b", 1, 2)]),  # what cannot go on begins anew
        ("O I-a O", [("a", 1, 2)]),
        ("B-a E-a S-a", [("a", 0, 2), ("a", 2, 3)]),  # IOBES
        ("B-a L-a U-a", [("a", 0, 2), ("a", 2, 3)]),  # BILOU
        ("E-a I-a", [("a", 0, 1), ("a", 1, 2)]),  # nothing goes on behind an end
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
    ],
)
def test_spans(tags: str, found: list[Span]) -> None:
    assert spans(tags.split()) == found


@given(st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b", "E-a", "S-b"])))
def test_every_marked_token_is_in_one_span_of_its_kind(tags: list[str]) -> None:
    covered = {place: kind for kind, begin, end in spans(tags) for place in range(begin, end)}
    assert covered == {place: kind_of(tag) for place, tag in enumerate(tags) if tag != "O"}
    assert sum(end - begin for _, begin, end in spans(tags)) == len(covered)


@pytest.mark.parametrize(
    ("tags", "answer"),
    [(["O", "B-x"], True), (["NOUN", "VERB"], False), (["O"], False), (["B", "O"], False), (["B-x", "NOUN"], False)],
)
def test_what_a_scheme_is(tags: list[str], answer: bool) -> None:
    assert is_scheme(tags) is answer
