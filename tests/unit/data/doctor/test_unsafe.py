"""Unsafe rows: whatever the named judge says, by row and category."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.data.doctor.finding import Subject
from burnish.data.doctor.unsafe import BATCH, unsafe
from burnish.types import Example, Origin


def subject(*texts: str) -> Subject:
    return Subject.of([Example({"text": text, "label": "a"}, Origin("f", i + 2)) for i, text in enumerate(texts)])


def test_flagged_rows_are_found_with_their_categories() -> None:
    asked: list[int] = []
    steps: list[tuple[int, int]] = []

    def judge(texts: Sequence[str]) -> list[list[str]]:
        asked.append(len(texts))
        return [["hate", "violence"] if "bad" in text else ["hate"] if "meh" in text else [] for text in texts]

    texts = ["fine"] * (BATCH + 3) + ["bad", "meh"]
    (found,) = unsafe(subject(*texts), judge, lambda done, total: steps.append((done, total)))
    assert (found.code, found.severity, found.count) == ("data/unsafe", "warning", 2)
    assert found.what == "hold a text that is called unsafe: hate 2, violence 1"
    assert [place.line for place in found.places] == [BATCH + 5, BATCH + 6]
    assert found.details[0] == f"f:{BATCH + 5}: hate, violence"
    assert asked == [BATCH, 5]
    assert steps[-1] == (BATCH + 5, BATCH + 5)


def test_nothing_flagged_is_nothing_found() -> None:
    assert list(unsafe(subject("a", "b"), lambda texts: [[] for _ in texts], lambda *_: None)) == []
