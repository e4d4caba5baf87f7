"""The files of a run, and what is made of them after a crash."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from burnish.errors import DamagedStoreError, RunError
from burnish.storage.durable import append_lines
from burnish.storage.run_folder import FORMAT, RunFolder


def test_the_names_are_those_of_the_design(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    paths = {name: path.name for name, path in vars(folder).items() if name != "path"}
    assert paths == {
        "recipe": "recipe.yaml",
        "manifest_file": "manifest.json",
        "events": "events.jsonl",
        "metrics": "metrics.jsonl",
        "problems": "problems.jsonl",
        "places": "places.json",
        "checkpoints": "checkpoints",
        "final": "final",
        "evaluation": "evaluation.json",
        "predictions": "predictions.jsonl",
        "pictures": "pictures.json",
        "choices": "choices.jsonl",
        "pairwise": "pairwise.json",
        "samples": "samples.jsonl",
        "reference": "reference",
        "exports": "exports",
        "report": "report.html",
        "card": "card.md",
        "request": ".request",
    }


def test_a_new_folder_has_an_empty_manifest_and_its_own_name_as_id(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "tickets-1")
    assert folder.manifest() == {}
    assert folder.id == "tickets-1"


def test_entries_are_added_to_the_manifest(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.update_manifest(id="abc", status="running")
    folder.update_manifest(status="finished")
    assert folder.manifest() == {"format": FORMAT, "id": "abc", "status": "finished"}
    assert folder.id == "abc"


@pytest.mark.parametrize("content", [b"", b'{"id":', b"\xff\xfe", b"[1]", b"[]", b'"text"', b"[" * 100_000])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path)
    folder.manifest_file.write_bytes(content)
    with pytest.raises(DamagedStoreError) as caught:
        folder.manifest()
    assert caught.value.code == "storage/damaged"
    assert caught.value.where == str(folder.manifest_file)
    assert "manifest.json" in caught.value.message


def test_an_event_has_its_time_and_details(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    before = time.time()
    folder.event("checkpoint", step=3)
    folder.event("finished")
    first, second = folder.rows(folder.events)
    assert {**first, "time": 0} == {"time": 0, "event": "checkpoint", "step": 3}
    assert before - 0.001 <= first["time"] <= second["time"] <= time.time() + 0.001


def test_written_rows_come_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = [{"text": "é\u2028\u0085 line\nfeed"}, {"n": 1}]
    folder.write_rows(folder.problems, rows)
    assert folder.rows(folder.problems) == rows
    folder.write_rows(folder.problems, [])
    assert folder.rows(folder.problems) == []
    assert folder.rows(folder.predictions) == []


def test_a_new_manifest_keeps_nothing_of_an_earlier_attempt(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.update_manifest(id="abc", error={"code": "x"})
    folder.begin_manifest(id="abc")
    assert folder.manifest() == {"format": FORMAT, "id": "abc"}


@pytest.mark.parametrize("cut", range(1, len('{"step": 2}\n')))
def test_a_last_line_cut_off_by_a_crash_is_left_out(tmp_path: Path, cut: int) -> None:
    folder = RunFolder(tmp_path)
    whole = json.dumps({"step": 1}) + "\n" + json.dumps({"step": 2}) + "\n"
    folder.metrics.write_text(whole[:-cut])
    assert folder.rows(folder.metrics) == [{"step": 1}]


@pytest.mark.parametrize("left", ['{"step": 1}\n{"st', '{"st', '{"step": 1}\n{"step": 2}'])
def test_what_follows_a_cut_line_is_not_lost(tmp_path: Path, left: str) -> None:
    """A full disk cuts a line in the middle; the run goes on in the same file once there is space."""
    folder = RunFolder(tmp_path)
    folder.events.write_text(left)
    size = append_lines(folder.events, [{"step": 3}])
    expected = [json.loads(line) for line in left.split("\n")[:-1]]
    assert folder.rows(folder.events) == [*expected, {"step": 3}]
    assert size == folder.events.stat().st_size


def test_a_run_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"id": "a", "format": 99}')
    with pytest.raises(RunError) as caught:
        RunFolder(tmp_path).manifest()
    error = caught.value
    assert (error.code, error.where) == ("run/newer-format", str(tmp_path))
    assert "99" in error.message
    assert error.hint is not None
    assert "newer" in error.hint
