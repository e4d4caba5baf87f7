"""A run as it is read from its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.errors import DamagedStoreError
from burnish.evaluation.run_record import RunRecord

BuildRun = Callable[..., Path]


def test_a_folder_without_files_is_empty(tmp_path: Path) -> None:
    record = RunRecord.read(tmp_path / "run-1")
    assert record.id == "run-1"
    assert (record.verdict, record.models, record.metrics, record.recipe, record.use) == ({}, {}, [], "", "")


def test_the_tuned_model_is_the_first_arm_and_the_best_of_the_others_follows(build_run: BuildRun) -> None:
    record = RunRecord.read(build_run())
    assert record.arms() == ["tuned", "base-probe", "tf-idf", "base-centroid", "majority"]


def test_a_place_is_short_unless_two_files_share_a_name(build_run: BuildRun) -> None:
    run = build_run()
    row = {"file": "/data/tickets/test.csv", "line": 7}
    assert RunRecord.read(run).place(row) == "test.csv:7"
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["data"]["files"]["/other/test.csv"] = {}
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert RunRecord.read(run).place(row) == "/data/tickets/test.csv:7"


@pytest.mark.parametrize("name", ["manifest.json", "evaluation.json", "metrics.jsonl", "predictions.jsonl"])
def test_a_damaged_file_is_named(build_run: BuildRun, name: str) -> None:
    run = build_run()
    (run / name).write_text("{not json\n")
    with pytest.raises(DamagedStoreError) as caught:
        RunRecord.read(run)
    assert caught.value.code == "storage/damaged"
    assert caught.value.where == str(run / name)
    assert name in caught.value.message
