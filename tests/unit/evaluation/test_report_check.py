"""The page of `burnish check`."""

from __future__ import annotations

from typing import Any

from burnish.evaluation.report_check import render_check

FOUND: dict[str, Any] = {
    "files": ["<b>.csv"],
    "rows": 1_234,
    "splits": {"train": 1_000, "validation": 117, "test": 117},
    "notes": ["TSV & more"],
    "warnings": [],
    "lengths": {"histogram": [[0, 0], [1, 1_234]]},
    "findings": [
        {
            "code": "data/secret",
            "severity": "error",
            "count": 30,
            "share": 0.024,
            "what": "hold <keys>",
            "fix": "revoke them",
            "places": [f"a.csv:{line}" for line in range(2, 32)],
            "details": ["a.csv:2: secret"],
        }
    ],
}


def test_findings_under_their_severity_with_places_and_fix() -> None:
    page = render_check(FOUND)
    assert "To mend" in page
    assert "To look at" not in page
    assert "30 rows (2.4%) hold &lt;keys&gt;" in page
    assert "→ revoke them" in page
    assert "Rows (the first 20 of 30)" in page
    assert "a.csv:21" in page
    assert "a.csv:22" not in page


def test_the_page_is_inert() -> None:
    page = render_check(FOUND)
    assert "default-src 'none'" in page
    assert "<b>" not in page
    assert "<script" not in page
    assert "http://" not in page


def test_a_clean_check_says_so() -> None:
    assert "No problems found." in render_check(FOUND | {"findings": [], "lengths": {}})
