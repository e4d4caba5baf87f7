"""The page of a monitor: the answer first, texts of users escaped, nothing that runs."""

from __future__ import annotations

from typing import Any

from burnish.monitoring.page import render_monitor


def found(**changes: Any) -> dict[str, Any]:
    """A drift of confidence, with one row of a user who writes markup."""
    row = {"file": "new.csv", "line": 7, "excerpt": "<b>where</b>", "distance": 0.9}
    tests = [
        {"of": "inputs", "statistic": 0.01, "p_value": 0.2, "adjusted": 0.4, "alarm": False},
        {"of": "confidence", "statistic": 0.3, "p_value": 0.0005, "adjusted": 0.001, "alarm": True},
        {"of": "prediction", "statistic": 3.0, "p_value": 0.3, "adjusted": 0.4, "alarm": False},
    ]
    numbers = {"confidence": {"edges": [0.0, 0.5, 1.0], "reference": [0.2, 0.8], "new": [0.6, 0.4]}}
    return {
        "run": "tickets-1",
        "task": "text-classification",
        "data": "new.csv",
        "answer": "drift",
        "alpha": 0.01,
        "rows": 300,
        "compared": 200,
        "reference_rows": 150,
        "refused": 0,
        "tests": tests,
        "quality": {"measured": False, "metric": "accuracy", "before": 0.9, "value": 0.7, "low": 0.6, "high": 0.8},
        "new": {"count": 12, "by_chance": 2.0, "rows": [row]},
        "power": "As much as that",
        "advice": "Read the rows.",
        "distributions": {"numbers": numbers, "kinds": {"prediction": [["<i>late</i>", 0.5, 0.2]]}},
        **changes,
    }


def test_the_answer_is_the_title_and_comes_first() -> None:
    page = render_monitor(found())
    assert "<title>The new rows are not like those this model was judged on. burnish monitor of tickets-1" in page
    assert page.index("▼ drift") < page.index("What was compared")
    assert "200 of 300 new rows from new.csv" in page
    assert "an alarm has a chance of 1\u00a0% at most" in page


def test_what_users_wrote_is_escaped() -> None:
    page = render_monitor(found())
    assert "&lt;b&gt;where&lt;/b&gt;" in page
    assert "&lt;i&gt;late&lt;/i&gt;" in page
    assert "<script" not in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_an_estimate_is_told_from_a_measurement() -> None:
    assert "How good the answers may be" in render_monitor(found())
    fall = {"measured": True, "metric": "accuracy", "before": 0.9, "after": 0.6, "share": 1 / 3}
    page = render_monitor(found(quality={**fall, "low": 0.2, "high": 0.4, "rule": 0.05, "alarm": True}))
    assert "How good the answers are" in page
    assert "accuracy went from 90.0\u00a0% to 60.0\u00a0%. That is 33.3% worse" in page


def test_silence_shows_no_rows() -> None:
    page = render_monitor(found(answer="no drift seen", new=None, quality=None))
    assert "No drift seen: the new rows look like those this model was judged on." in page
    assert "Rows that look new" not in page


def test_what_speaks_is_drawn_first() -> None:
    page = render_monitor(found())
    assert page.index("probability of the prediction") < page.index("the values whose shares differ most")
