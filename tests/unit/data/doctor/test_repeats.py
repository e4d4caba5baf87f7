"""Near duplicates, their labels, and inputs with several answers."""

from __future__ import annotations

from typing import Any

from burnish.data.doctor.repeats import near_duplicates, repeated_inputs

LONG = "the parcel was left with a neighbour who does not know which of the two doors is ours"


def test_near_duplicates_with_their_pair(subject: Any) -> None:
    (found,) = near_duplicates(subject([LONG, "another thing", LONG.replace("parcel", "parcels")], ["a", "b", "a"]))
    assert (found.code, found.count) == ("data/near-duplicate", 1)
    assert str(found.places[0]) == "rows.csv:4"
    assert found.details == ("rows.csv:2 ~ rows.csv:4 (0.90)",)
    assert "1 groups, the largest of 2 rows" in found.what


def test_near_duplicates_that_contradict_each_other(subject: Any) -> None:
    found = list(near_duplicates(subject([LONG, LONG + "!", "x"], ["a", "b", "a"])))
    assert [f.code for f in found] == ["data/near-duplicate", "data/near-conflict"]
    assert found[1].count == 2
    assert found[1].details == ("rows.csv:2 ~ rows.csv:3: a / b",)


def test_a_system_prompt_of_all_rows_does_not_make_them_alike(subject: Any) -> None:
    rows = [
        {"messages": [{"role": "system", "content": LONG * 5}, {"role": "user", "content": question}]}
        for question in ("where is my card", "how do I pay")
    ]
    assert list(near_duplicates(subject(rows))) == []


def test_one_input_with_two_answers(subject: Any) -> None:
    rows = [{"source": "A", "target": "1"}, {"source": "a", "target": "2"}, {"source": "b", "target": "1"}]
    (found,) = repeated_inputs(subject(rows))
    assert (found.code, found.severity, found.count) == ("data/repeated-input", "info", 2)
    assert list(repeated_inputs(subject(rows[1:]))) == []


def test_tables_and_empty_data_have_none(subject: Any) -> None:
    assert list(near_duplicates(subject([{"features": {"age": 1}, "target": "x"}] * 3))) == []
    assert list(near_duplicates(subject([]))) == []
