"""The parts of a report on trust, from what evaluation.json holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.evaluation.report import render_report, sections_of
from burnish.evaluation.report_trust import (
    calibration_section,
    confidence_section,
    flagged_section,
    groups_section,
    memory_section,
    spellings_section,
)
from burnish.evaluation.run_record import RunRecord


@pytest.fixture
def record(tmp_path: Path) -> Any:
    def make(**evaluation: Any) -> RunRecord:
        (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "id": "run"}), encoding="utf-8")
        (tmp_path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
        return RunRecord.read(tmp_path)

    return make


def figures(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


GROUP = {
    "group": "<b>north",
    "n": 40,
    **figures(0.8, 0.65, 0.9),
    "against_others": figures(-0.1, -0.3, 0.1),
    "rates": {"selection": {"n": 40, **figures(0.25, 0.14, 0.4)}},
}
COLUMN = {
    "column": "region",
    "positive": "yes",
    "groups": [GROUP],
    "too_small": [{"group": "south", "n": 7}],
    "gap": {"best": "east", "worst": "<b>north", **figures(0.15, 0.02, 0.28)},
    "rate_gaps": {"selection": {"highest": "east", "lowest": "<b>north", **figures(0.2, 0.0, 0.4)}},
}


def test_groups_stand_with_their_gap_their_rates_and_the_gate(record: Any) -> None:
    gate = {"name": "groups", "passed": False, "reason": "The gap is 15 points."}
    page = groups_section(record(groups={"metric": "accuracy", "fewest": 30, "columns": [COLUMN]}, gates=[gate], n=120))
    assert "✗ gate not passed" in page
    assert "The gap is 15 points." in page
    assert "<b>north" not in page.replace("<bdi>", "")
    for shown in ("80.0", "65.0 to 90.0", "−10.0", "given “yes”", "25.0", "south (7)", "by 15.0", "+2.0 to +28.0"):
        assert shown in page, shown


def test_a_column_without_a_large_group_says_so(record: Any) -> None:
    column = {"column": "region", "groups": [], "too_small": [{"group": "a", "n": 3}], "gap": None}
    page = groups_section(record(groups={"metric": "accuracy", "fewest": 30, "columns": [column]}))
    assert "no group has enough test rows" in page


BINS = [{"n": 40, "probability": 0.123, "share": 0.25, "low": 0.14, "high": 0.4}]
CHANGED = {"before": figures(0.14, 0.1, 0.2), "after": figures(0.05, 0.03, 0.08), "difference": figures(-0.09, -0.1, 0)}
MODEL = {
    "temperature": {"temperature": 1.83, "n": 150, "reason": ""},
    "bins": {"before": BINS, "after": BINS},
    "figures": {"calibration-error": CHANGED},
}


def test_calibration_stands_before_and_after_the_temperature(record: Any) -> None:
    page = calibration_section(record(n=160, calibration={"of": '"yes"', "models": {"trees": MODEL}}))
    for shown in ("probability of &quot;yes&quot;", "12.3", "14.0 to 40.0", "gradient-boosted trees, before"):
        assert shown in page, shown
    for shown in ("temperature 1.83 from 150", "160 test rows", "calibration error", "0.14", "0.05", "−0.09"):
        assert shown in page, shown


def test_where_there_is_no_temperature_the_reason_stands(record: Any) -> None:
    plain = {**MODEL, "temperature": {"temperature": 1.0, "n": 12, "reason": "12 validation rows are too few"}}
    page = calibration_section(record(calibration={"of": "the likeliest class", "models": {"tuned": plain}}))
    assert "12 validation rows are too few." in page
    assert "before" not in page


def test_thresholds_and_what_the_target_needs(record: Any) -> None:
    row = {"threshold": 0.9, "n": 80, "coverage": 0.5, "accuracy": 0.95, "low": 0.88, "high": 0.98}
    target = {"min_accuracy": 0.95, "threshold": 0.8567, "test": row}
    page = confidence_section(record(confidence={"n": 160, "rows": [row], "target": target}))
    for shown in ("--min-confidence 0.856", "50.0", "95.0", "88.0 to 98.0", "80 rows"):
        assert shown in page, shown
    never = {"min_accuracy": 0.95, "threshold": None}
    page = confidence_section(record(confidence={"n": 160, "rows": [row], "target": never}))
    assert "no threshold gives 95.0" in page


def test_other_spellings_stand_with_their_loss(record: Any) -> None:
    kind = {"value": 0.7, "changed": 0.25, "drop": {**figures(0.2, 0.1, 0.3), "n": 100}}
    page = spellings_section(
        record(robustness={"n": 100, "metric": "accuracy", "value": 0.9, "kinds": {"typos": kind}})
    )
    for shown in ("100 test rows", "typing errors", "−20.0", "−30.0 to −10.0", "25.0"):
        assert shown in page, shown


def test_what_was_learned_by_heart(record: Any) -> None:
    shares = {
        "training": figures(0.6, 0.5, 0.7),
        "held_out": figures(0.1, 0, 0.2),
        "difference": figures(0.5, 0.3, 0.7),
    }
    continued = {"n": 50, "held_out_n": 40, "exact": shares, "overlap": shares}
    canary = {"file": "c.jsonl", "line": 3, "rank": 1, "of": 500, "exposure": 8.97, "most": 8.97}
    page = memory_section(record(memorisation={"continuations": continued, "canaries": [canary]}))
    for shown in ("50 training rows", "40 test rows", "+50.0", "c.jsonl:3", "1 of 500", "9.0 bits"):
        assert shown in page, shown


def test_flagged_answers_of_both_models(record: Any) -> None:
    flagged = {
        "moderator": "<i>judge",
        "n": 20,
        "tuned": figures(0.3, 0.1, 0.5),
        "base": figures(0.0, 0.0, 0.2),
        "difference": figures(0.3, 0.1, 0.5),
        "categories": {"tuned": {"toxic": 6}, "base": {}},
    }
    page = flagged_section(record(flagged=flagged))
    assert "<i>judge" not in page
    for shown in ("20 test prompts", "toxic 6", "none", "+30.0"):
        assert shown in page, shown


def test_the_page_has_the_parts_that_were_judged(record: Any, tmp_path: Path) -> None:
    found = record(groups={"metric": "accuracy", "fewest": 30, "columns": [COLUMN]})
    assert "groups" in sections_of(found)
    assert not {"calibration", "confidence", "robustness", "memorisation", "flagged"} & set(sections_of(found))
    assert 'href="#groups"' in render_report(tmp_path)
