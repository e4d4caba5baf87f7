"""Each text once, with the label most of its rows have; nothing the model is judged on in train."""

from __future__ import annotations

import pytest

from burnish.data.deduplicate import asked_form, deduplicate, leakage, loose_form, normal_form
from burnish.types import Example, Origin, Problem


def rows(*pairs: tuple[str, str], file: str = "rows.csv") -> list[Example]:
    return [Example({"text": text, "label": label}, Origin(file, i)) for i, (text, label) in enumerate(pairs, start=2)]


def lines(items: list[Example] | list[Problem]) -> list[int]:
    return [item.origin.line for item in items]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a b", "a \t\r\n b", True),
        ("café", "cafe\u0301", True),  # NFC
        (" a", "\u2003a", True),
        ("a", "A", False),
        ("a", "a ", False),
        ("ﬁ", "fi", False),  # NFC, not NFKC
    ],
)
def test_normal_form(one: str, other: str, same: bool) -> None:
    assert (normal_form({"text": one}) == normal_form({"text": other})) is same
    assert normal_form({"text": one, "label": "x"}) == normal_form({"text": one, "label": "y"})


def test_normal_form_reads_every_column_but_the_label() -> None:
    assert normal_form({"b": "x y", "a": [1, {"c": 2}]}) == '[1, {"c": 2}]\0x y'


def test_loose_form_is_blind_to_case_and_outer_whitespace() -> None:
    assert loose_form({"text": " Straße  1\n"}) == loose_form({"text": "STRASSE 1"})
    assert loose_form({"text": "a b"}) != loose_form({"text": "ab"})


def test_the_first_of_equal_rows_is_kept() -> None:
    kept, problems = deduplicate(rows(("a", "x"), ("b", "x"), ("a", "x"), ("a ", "x"), ("b", "x")))
    assert lines(kept) == [2, 3, 5]
    assert [p.code for p in problems] == ["data/duplicate"] * 2
    assert lines(problems) == [4, 6]
    assert problems[0].reason == "the same text and label as rows.csv:2"


def test_of_contradicting_rows_the_majority_wins() -> None:
    kept, problems = deduplicate(rows(("a", "y"), ("a", "x"), ("a", "x"), ("b", "z")))
    assert lines(kept) == [3, 5]
    assert [p.code for p in problems] == ["data/conflicting-label", "data/duplicate"]
    assert problems[0].column == "label"
    assert problems[0].reason == ('the same text as rows.csv:3 with another label ("x" 2, "y" 1); rows.csv:3 is kept')


@pytest.mark.parametrize("labels", ["xy", "xyxy", "xxyz"])
def test_without_a_majority_all_contradicting_rows_go(labels: str) -> None:
    kept, problems = deduplicate(rows(*(("a", label) for label in labels), ("b", "z")))
    assert [example.row["text"] for example in kept] == ["b"]
    assert {p.code for p in problems} == {"data/conflicting-label"}
    assert problems[-1].reason.startswith("the same text as rows.csv:2 with another label")
    assert problems[-1].reason.endswith("no label has a majority, so none is kept")


def test_rows_without_labels() -> None:
    kept, problems = deduplicate([Example({"text": "a"}, Origin("f", 1)), Example({"text": "a"}, Origin("f", 2))])
    assert (lines(kept), lines(problems)) == ([1], [2])


def test_leakage_drops_rows_of_the_first_only() -> None:
    train = rows(("a", "x"), ("B ", "x"), ("c", "y"), ("b", "y"))
    kept, problems = leakage(train, rows(("b", "x"), ("d", "x"), file="test.csv"))
    assert lines(kept) == [2, 4]
    assert [p.code for p in problems] == ["data/leakage"] * 2
    assert lines(problems) == [3, 5]
    assert problems[0].reason == "the same text is in test.csv:2, which the model is judged on"


def test_conversations_are_compared_by_what_is_said() -> None:
    """Brackets and roles are alike in all of them; short ones would all be near duplicates."""

    def row(*texts: str) -> dict[str, object]:
        return {"messages": [{"role": "user", "content": text} for text in texts]}

    assert normal_form(row("a b", "c")) == "a b c"
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    assert '"name": "f"' in normal_form({"messages": [call]})
    assert asked_form(row("Where?", "here")) == asked_form(row("where?", "there")) == "where?"
    assert asked_form({"text": "a"}) is None
    assert asked_form({"source": "Where?", "target": "here"}) == asked_form({"source": "where?", "target": "there"})
