"""Runs are listed newest first, and found by what a person would type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import RunError
from burnish.registry.runs import chosen_runs, find_run, list_runs
from burnish.storage.run_folder import RunFolder

CREATED = {
    "tickets-20260101-090000-ab12": "2026-01-01T09:00:00+00:00",
    "tickets-20260103-090000-cd34": "2026-01-03T09:00:00+00:00",
    "spam-20260102-090000-ef56": "2026-01-02T09:00:00+00:00",
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs, and things that are none."""
    folder = tmp_path / "runs"
    for name, created in CREATED.items():
        (folder / name).mkdir(parents=True)
        RunFolder(folder / name).update_manifest(id=name, status="finished", created=created)
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("not a run")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "manifest.json").write_text('{"id": ')
    return folder


def refusal(name: str, runs: Path) -> RunError:
    with pytest.raises(RunError) as caught:
        find_run(name, runs)
    assert caught.value.exit_code == 2
    return caught.value


def test_runs_are_listed_newest_first_and_what_is_none_is_left_out(runs: Path) -> None:
    assert [summary.id for summary in list_runs(runs)] == sorted(CREATED, key=lambda name: CREATED[name], reverse=True)


def test_no_folder_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "absent") == []


def test_what_is_told_about_a_finished_run(runs: Path) -> None:
    entries: dict[str, Any] = {
        "task": "text-classification",
        "method": "lora",
        "base": {"name": "minilm", "sha256": "0"},
        "verdict": {"answer": "better", "metric": "accuracy", "tuned": 0.93},
    }
    RunFolder(runs / "spam-20260102-090000-ef56").update_manifest(**entries)
    summary = next(s for s in list_runs(runs) if s.id.startswith("spam"))
    assert json.loads(json.dumps(summary.as_dict())) == {
        "id": "spam-20260102-090000-ef56",
        "folder": str(runs / "spam-20260102-090000-ef56"),
        "status": "finished",
        "task": "text-classification",
        "method": "lora",
        "base": "minilm",
        "created": "2026-01-02T09:00:00+00:00",
        "answer": "better",
        "metric": "accuracy",
        "value": 0.93,
    }


def test_a_run_that_has_no_verdict_yet(runs: Path) -> None:
    summary = list_runs(runs)[0]
    assert (summary.answer, summary.metric, summary.value, summary.base) == (None, None, None, "")


@pytest.mark.parametrize("name", ["spam-20260102-090000-ef56", "spam", "s"])
def test_a_run_by_its_id_or_the_unique_beginning_of_it(runs: Path, name: str) -> None:
    assert find_run(name, runs).path == runs / "spam-20260102-090000-ef56"


def test_a_run_by_its_folder(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = runs / "spam-20260102-090000-ef56"
    assert find_run(str(folder), tmp_path / "elsewhere").path == folder
    monkeypatch.chdir(runs.parent)
    assert find_run("runs/spam-20260102-090000-ef56", tmp_path).id == folder.name
    monkeypatch.setenv("HOME", str(runs))
    assert find_run("~/spam-20260102-090000-ef56", tmp_path).path == folder


def test_a_run_keeps_its_id_in_another_folder(runs: Path) -> None:
    (runs / "spam-20260102-090000-ef56").rename(runs / "renamed")
    assert find_run("spam", runs).path == runs / "renamed"


def test_an_id_that_begins_another_one_is_itself(runs: Path) -> None:
    (runs / "tickets").mkdir()
    RunFolder(runs / "tickets").update_manifest(id="tickets", created="2026-01-04")
    assert find_run("tickets", runs).path == runs / "tickets"


def test_a_beginning_of_several_ids(runs: Path) -> None:
    error = refusal("tickets", runs)
    assert error.code == "run/ambiguous"
    assert '"tickets" begins 2 run ids' in error.message
    assert error.known == ("tickets-20260103-090000-cd34", "tickets-20260101-090000-ab12")


def test_a_run_that_does_not_exist(runs: Path) -> None:
    error = refusal("spam-20260102-090000-ef57", runs)
    assert error.code == "run/not-found"
    assert str(runs) in error.message
    assert error.hint == 'did you mean "spam-20260102-090000-ef56"?'
    assert set(error.known) == set(CREATED)
    assert "burnish runs" in str(refusal("zzz", runs).hint)
    assert refusal("~nobody-of-this-name", runs).code == "run/not-found"


def test_a_damaged_run_named_by_its_folder_says_what_is_wrong_when_it_is_read(runs: Path) -> None:
    from burnish.errors import DamagedStoreError

    folder = find_run(str(runs / "damaged"), runs)
    with pytest.raises(DamagedStoreError, match=r"manifest\.json is unreadable"):
        folder.manifest()


def test_the_list_is_narrowed_by_what_a_run_is_about(runs: Path) -> None:
    better = {"answer": "better", "metric": "accuracy", "tuned": 0.9}
    facts = {
        "tickets-20260101-090000-ab12": {"task": "chat", "base": {"name": "/models/stories260k"}},
        "tickets-20260103-090000-cd34": {"task": "chat", "base": {"name": "minilm"}, "status": "failed"},
        "spam-20260102-090000-ef56": {"task": "tabular", "base": {"name": "minilm"}, "verdict": better},
    }
    for name, entries in facts.items():
        RunFolder(runs / name).update_manifest(**entries)
    found = list_runs(runs)

    def chosen(**wanted: Any) -> list[str]:
        return [summary.id[:10] for summary in chosen_runs(found, **wanted)]

    assert chosen() == ["tickets-20", "spam-20260", "tickets-20"]
    assert len(chosen(task="chat")) == 2
    assert chosen(status="finished", task="chat") == ["tickets-20"]
    assert chosen(answer="better") == chosen(base="MiniLM", status="finished") == ["spam-20260"]
    assert chosen(base="stories", limit=1) == ["tickets-20"]
    assert chosen(limit=2) == ["tickets-20", "spam-20260"]
    assert chosen(task="embedding") == []
