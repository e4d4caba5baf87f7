"""Questions from documents: what is sent, what becomes a row, and what does not."""

from __future__ import annotations

import json

import pytest

from burnish.data.questions import FAILURES, write_questions
from burnish.types import Example, Origin, Provenance

SECTION = (
    "The library opens at nine on weekdays and at eleven on Sundays. Members may borrow twelve books for four weeks; "
    "a book that nobody has reserved can be renewed twice. Lost cards are replaced for five euros at the front desk. "
)


def section(text: str = SECTION, line: int = 3) -> Example:
    return Example({"text": text}, Origin("guide.md", line))


def line(question: object, answer: object) -> str:
    return json.dumps({"question": question, "answer": answer})


def test_a_pair_becomes_a_conversation_with_its_place() -> None:
    sent = []

    def ask(task: str, text: str) -> str:
        sent.append((task, text))
        return line("When does the library open on Sundays?", "On Sundays the library opens at eleven.")

    found = write_questions([section(), section("too short")], ask, copies=2)
    (row,) = found.rows
    assert row.row["messages"] == [
        {"role": "user", "content": "When does the library open on Sundays?"},
        {"role": "assistant", "content": "On Sundays the library opens at eleven."},
    ]
    assert (row.origin, row.provenance) == (Origin("guide.md", 3), Provenance.SYNTHETIC)
    assert [text for _, text in sent] == [SECTION], "a section that says too little is not sent"
    assert "Write 2 questions" in sent[0][0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("no JSON at all", "no question and answer"),
        (line("q?", ""), "no question and answer"),
        (line("q?", 7), "no question and answer"),
        ("[" * 100_000, "no question and answer"),
        (line("Who wrote it?", "Shakespeare composed seventeen wonderful tragedies there."), "not in the document"),
    ],
)
def test_what_is_refused(answer: str, reason: str) -> None:
    found = write_questions([section()], lambda *_: answer, copies=3)
    assert (found.rows, dict(found.refused)) == ([], {reason: 1})


def test_a_question_is_taken_once() -> None:
    pair = line("When does it open?", "The library opens at nine on weekdays.")
    found = write_questions([section(), section(line=9)], lambda *_: f"{pair}\n{pair.lower()}", copies=2)
    assert (len(found.rows), dict(found.refused)) == (1, {"asked before": 3})


def test_an_endpoint_that_is_down_is_given_up() -> None:
    def down(*_: str) -> str:
        raise OSError("refused")

    found = write_questions([section(line=i) for i in range(9)], down, copies=1)
    assert (found.rows, found.stopped, found.refused["no answer"]) == ([], "refused", FAILURES)
