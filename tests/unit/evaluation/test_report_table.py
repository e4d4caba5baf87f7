"""The parts of a report that only a table has, from what evaluation.json holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.evaluation.report_table import importance_section, misses_section
from burnish.evaluation.run_record import RunRecord


def record(folder: Path, evaluation: dict[str, Any], predictions: list[dict[str, Any]]) -> RunRecord:
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "id": "run"}), encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in predictions), encoding="utf-8")
    return RunRecord.read(folder)


@pytest.mark.parametrize(("metric", "shown"), [("roc-auc", "12.00"), ("rmse", "0.12")])
def test_columns_stand_with_what_is_lost_without_them(tmp_path: Path, metric: str, shown: str) -> None:
    columns = [{"column": "<b>age", "loss": 0.12, "low": 0.1, "high": 0.15}]
    importance = {"n": 90, "repeats": 5, "metric": metric, "columns": columns}
    page = importance_section(record(tmp_path, {"importance": importance, "shipped": "trees"}, []))
    assert "the trees, on 90 validation rows" in page
    assert shown in page
    assert "<b>age" not in page


def test_the_largest_misses_stand_first(tmp_path: Path) -> None:
    rows = [
        {"file": "a.csv", "line": i, "text": f"x: {i}", "label": 10.0, "prediction": 10.0 + miss}
        for i, miss in ((2, 0.5), (3, -4.0), (4, 2.0))
    ]
    page = misses_section(record(tmp_path, {}, rows))
    places = [page.index(f"x: {i}") for i in (3, 4, 2)]
    assert places == sorted(places)
    assert "a.csv:3" in page
