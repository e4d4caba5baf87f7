"""A run made again comes out bit for bit the same, and where it does not, the report says how far and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import burnish
from burnish.cli.main import main
from burnish.errors import RunError
from burnish.lifecycle.control import resume_changed
from burnish.lifecycle.datasets import data_store
from burnish.lifecycle.reproduce import reproduce
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import train
from burnish.storage.run_folder import RunFolder
from burnish.task.text_classification import TextClassification

ToyRows = list[tuple[str, str]]


@pytest.fixture(scope="module")
def classified(toy_rows: ToyRows, quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short classification whose data file lies in a folder of its own; who changes the file works on a copy."""
    folder = tmp_path_factory.mktemp("reproduce")
    data = folder / "toy.csv"
    lines = [f"{text},{label}" for text, label in toy_rows]
    data.write_text("body,intent\n" + "\n".join(lines) + "\n", encoding="utf-8")
    overrides = [*quick, "training.epochs=2", "data.columns={text: body, label: intent}"]
    return train(data, overrides=overrides, output=folder / "run")


@pytest.fixture
def copied(classified: Run, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the run with its manifest edited, and of its data file with other text."""

    def copy(edit: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
        target = tmp_path / "copy"
        shutil.copytree(classified.path, target)
        manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
        edit(manifest)
        (target / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return target

    return copy


def differences(found: dict[str, Any]) -> dict[str, Any]:
    return {each["what"]: each for each in found["differences"]}


def refusal(run: Path, target: Path, **given: Any) -> RunError:
    with pytest.raises(RunError) as caught:
        reproduce(run, output=target, **given)
    assert not target.exists()  # nothing was spent
    return caught.value


def test_a_classification_is_bit_equal(classified: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", str(classified.path), "--output", str(tmp_path / "again"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bit_equal"]
    assert (found["weights"], found["differences"]) == (None, [])
    assert found["files"]["count"] >= 5
    assert found["predictions"]["rows"] == [27, 27]
    assert found["evaluation"]["count"] > 100
    assert json.loads((tmp_path / "again" / "reproduction.json").read_text(encoding="utf-8")) == found
    told = RunFolder(tmp_path / "again").manifest()["reproduces"]
    assert told == {"run": classified.id, "folder": str(classified.path), "bit_equal": True}


def test_a_chat_is_bit_equal(chats: Path, language_base: Path, tmp_path: Path) -> None:
    quick = ["training.epochs=1", "training.learning_rate=0.01", "evaluation.max_prompts=8", "training.threads=1"]
    run = train(chats, overrides=[*quick, f"model.base={language_base}", "method=lora"], output=tmp_path / "run")
    found = burnish.reproduce(run.path, output=tmp_path / "again")
    assert found["bit_equal"]
    assert found["files"]["count"] >= 4


def test_an_embedding_is_bit_equal(toy_rows: ToyRows, quick: tuple[str, ...], tmp_path: Path) -> None:
    rows = [{"anchor": a, "positive": b} for (a, _), (b, _) in zip(toy_rows[:120:6], toy_rows[3:123:6], strict=True)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    overrides = [*quick, "training.epochs=2", "task=embedding", "data.near_duplicates=false"]
    run = train(tmp_path / "pairs.jsonl", overrides=overrides, output=tmp_path / "run")
    assert reproduce(run.path, output=tmp_path / "again")["bit_equal"]


def test_another_seed_is_named_and_measured(
    classified: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["reproduce", str(classified.path), "--output", str(tmp_path / "again"), "--set", "training.seed=5"]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert "DIFFERENT" in shown
    assert "largest difference of a weight" in shown
    assert "training.seed is 5 and was 13" in shown


def test_another_thread_count_is_named(classified: Run, tmp_path: Path) -> None:
    fewer = ["training.threads=2", "training.max_steps=1"]  # two threads take turns where there is one core
    found = reproduce(classified.path, output=tmp_path / "again", overrides=fewer)
    assert differences(found)["training.threads"] == {"what": "training.threads", "before": 1, "now": 2}


def test_another_library_and_another_burnish_are_named(copied: Callable[..., Path], tmp_path: Path) -> None:
    run = copied(lambda manifest: manifest["environment"].update(torch="1.0", code="0" * 64))
    named = differences(reproduce(run, output=tmp_path / "again"))
    assert named["torch"]["before"] == "1.0"
    assert named["code"]["before"] == "0" * 64


def test_rows_come_from_the_stored_version_when_the_file_changed(
    classified: Run, copied: Callable[..., Path], tmp_path: Path
) -> None:
    """The rows that were learned from are kept: a file that has changed since does not change what is reproduced."""
    data = next(iter(classified.folder.manifest()["data"]["files"]))
    before = Path(data).read_bytes()
    Path(data).write_text("body,intent\nnothing,else\n", encoding="utf-8")
    try:
        found = reproduce(copied(), output=tmp_path / "again")
    finally:
        Path(data).write_bytes(before)
    assert found["files"]["same"]
    assert found["steps"]["same"]
    assert found["predictions"]["same"]
    assert found["evaluation"]["same"]
    changed = differences(found)[data]
    assert changed["why"].startswith("its rows were read from the stored version ")
    assert (tmp_path / "again-data" / "0-toy.jsonl").is_file()


def test_the_order_of_rows_is_the_runs_own_where_a_shuffled_file_was_stored_first(
    toy_rows: ToyRows, quick: tuple[str, ...], tmp_path: Path
) -> None:
    """Both files hold the same rows, so they are one data version; the order that was learned in is each run's."""
    overrides = [*quick, "training.epochs=2", "training.max_steps=4", "data.columns={text: body, label: intent}"]
    mine, other = tmp_path / "mine.csv", tmp_path / "other.csv"
    lines = [f"{text},{label}\n" for text, label in toy_rows[:150]]
    other.write_text("body,intent\n" + "".join(reversed(lines)), encoding="utf-8")
    first = train(other, overrides=overrides, output=tmp_path / "first")
    mine.write_text("body,intent\n" + "".join(lines), encoding="utf-8")
    second = train(mine, overrides=overrides, output=tmp_path / "second")
    versions = [run.folder.manifest()["data"]["version"] for run in (first, second)]
    assert versions[0] == versions[1]
    assert [run.folder.places.is_file() for run in (first, second)] == [False, True]
    mine.unlink()
    other.unlink()
    assert reproduce(first.path, output=tmp_path / "first-again")["bit_equal"]
    assert reproduce(second.path, output=tmp_path / "second-again")["bit_equal"]


def test_data_that_is_gone_and_not_kept_stops_it_before_anything_is_spent(
    copied: Callable[..., Path], tmp_path: Path
) -> None:
    def lose(manifest: dict[str, Any]) -> None:
        manifest["data"]["version"] = "0" * 64
        files = manifest["data"]["files"]
        manifest["data"]["files"] = {name: {**facts, "sha256": "1" * 64} for name, facts in files.items()}

    error = refusal(copied(lose), tmp_path / "again")
    assert error.code == "reproduce/data-gone"
    assert "toy.csv" in str(error.where)
    assert error.hint is not None
    assert data_store().is_dir()


def test_a_base_that_is_gone_stops_it_before_anything_is_spent(copied: Callable[..., Path], tmp_path: Path) -> None:
    error = refusal(copied(), tmp_path / "again", overrides=["model.base=/nowhere/at/all"])
    assert error.code == "reproduce/base-gone"
    assert "put it back" in str(error.hint)


def test_a_base_with_other_weights_is_named(copied: Callable[..., Path], tmp_path: Path) -> None:
    run = copied(lambda manifest: manifest["base"].update(sha256="2" * 64))
    named = differences(reproduce(run, output=tmp_path / "again"))
    assert next(each for what, each in named.items() if what.startswith("base "))["before"] == "2" * 64


def test_only_a_finished_run_can_be_come_close_to(copied: Callable[..., Path], tmp_path: Path) -> None:
    error = refusal(copied(lambda manifest: manifest.update(status="paused")), tmp_path / "again")
    assert (error.code, error.exit_code) == ("run/not-finished", 2)
    assert "burnish resume" in str(error.hint)


def test_parts_of_the_caller_must_be_given_again(copied: Callable[..., Path], tmp_path: Path) -> None:
    class Own(TextClassification):
        """A task of somebody's own."""

    name = f"{Own.__module__}:{Own.__qualname__}"
    run = copied(lambda manifest: manifest.update(parts_of_the_caller={"task": name}))
    error = refusal(run, tmp_path / "again")
    assert error.code == "run/own-parts"
    assert "task=..." in str(error.hint)


def test_a_file_the_recipe_names_must_be_there(copied: Callable[..., Path], tmp_path: Path) -> None:
    error = refusal(copied(), tmp_path / "again", overrides=["data.clean.relabel=/nowhere/corrections.jsonl"])
    assert (error.code, error.where) == ("reproduce/file-gone", "/nowhere/corrections.jsonl")


def test_a_run_that_went_on_from_another_goes_on_from_it_again(
    classified: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = resume_changed(classified.folder, ["training.epochs=3"], output=tmp_path / "child")
    assert reproduce(child.path, output=tmp_path / "again")["bit_equal"]
    manifest = child.folder.manifest()
    child.folder.update_manifest(parents=[{**manifest["parents"][0], "checkpoint": "step-1"}])
    assert refusal(child.path, tmp_path / "third").code == "reproduce/parent-gone"


def test_a_run_that_its_budget_ended_says_that_the_clock_did(toy: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    run = train(toy, overrides=[*quick, "training.max_seconds=0.001"], output=tmp_path / "run")
    assert str(run.folder.manifest()["training"]["stopped"]).startswith("budget")
    found = reproduce(run.path, output=tmp_path / "again", overrides=["training.max_seconds=null"])
    assert differences(found)["steps"]["why"] == "a budget ends a training by the clock"
