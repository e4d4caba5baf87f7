"""The searches and pairs that went worst, as the report shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from burnish.evaluation.report_embedding import worst_section
from burnish.evaluation.run_record import RunRecord

SEARCH = {"kind": "search", "queries": 3, "documents": 1200, "relevant_in_the_middle": 2.0}


def record(judged: dict[str, Any], rows: list[dict[str, Any]]) -> RunRecord:
    rows = [{"file": "rows.csv", "line": index, **row} for index, row in enumerate(rows, start=2)]
    return RunRecord(
        folder=Path(),
        manifest={},
        evaluation={"judged_by": judged},
        metrics=(),
        problems=(),
        predictions=rows,
        pairwise={},
        pictures={},
        samples=(),
        recipe="",
        use="",
    )


def searched(text: str, places: list[int]) -> dict[str, Any]:
    return {"text": text, "wanted": "<the right one>", "found": "another", "relevant": 1, "places": places, "arms": {}}


def test_searches_that_find_last_come_first() -> None:
    page = worst_section(record(SEARCH, [searched("good", [1]), searched("late", [4]), searched("lost", [])]))
    assert "1,200 texts were searched for each of 3 queries" in page
    assert "2 find another text first" in page
    assert page.index("lost") < page.index("late")
    assert "not among the first ten" in page
    assert "place 4" in page
    assert "good" not in page
    assert "&lt;the right one&gt;" in page


def test_nothing_went_wrong() -> None:
    assert "None: all find a relevant text first." in worst_section(record(SEARCH, [searched("good", [1, 3])]))


def test_pairs_out_of_order() -> None:
    """The third is called the most alike and found the least; ties of the others are no distance."""
    rows = [
        {"text": f"one {index}", "second": f"other {index}", "score": score, "similarity": similarity, "arms": {}}
        for index, (score, similarity) in enumerate([(1.0, 0.5), (1.0, 0.6), (5.0, 0.123), (2.0, 0.7)])
    ]
    page = worst_section(record({"kind": "scored pairs", "pairs": 4}, rows))
    assert "Worst pairs" in page
    assert page.index("one 2") < min(page.index(f"one {index}") for index in (0, 1, 3))
    assert "score <b>5</b> · similarity <b>0.12</b>" in page
