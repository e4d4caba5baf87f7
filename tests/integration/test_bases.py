"""A base is checked before it is loaded, a training ends when its budget does, and the catalogue answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.errors import LicenseError, ModelError
from burnish.lifecycle import forecast
from burnish.lifecycle.train import resume_run, train
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent


@pytest.fixture
def unfree_base(sentence_base: Path, tmp_path: Path) -> Path:
    """A base whose card forbids commercial use."""
    folder = tmp_path / "unfree"
    shutil.copytree(sentence_base, folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    return folder


@pytest.mark.parametrize("use", ["commercial", None, "research"])
def test_a_license_that_forbids_the_use_stops_before_anything_is_loaded(
    use: str | None, unfree_base: Path, toy: Path, quick: tuple[str, ...], tmp_path: Path, monkeypatch: Any
) -> None:
    class LoadedError(Exception):
        """The base would be loaded now."""

    def load(*_: Any, **__: Any) -> None:
        raise LoadedError

    monkeypatch.setattr("burnish.lifecycle.encoder_bench.load_encoder", load)
    overrides = [*quick, f"model.base={unfree_base}", f"model.use={use or 'null'}"]
    with pytest.raises(LicenseError if use == "commercial" else LoadedError):
        train(toy, overrides=overrides, output=tmp_path / "run")
    manifest = RunFolder(tmp_path / "run").manifest()
    assert manifest["status"] == "failed"
    if use == "commercial":
        assert manifest["error"]["code"] == "license/forbids-use"
    else:
        assert (manifest["license"]["name"], manifest["license"]["checked"]) == ("cc-by-nc-4.0", use is not None)


def test_a_budget_ends_the_training_and_the_best_checkpoint_is_judged(
    toy: Path, quick: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = ["--max-cost", "1e-6", "--set", "training.price_per_hour=2"]
    settings = [part for override in quick for part in ("--set", override)]
    code = main(["train", str(toy), "--output", str(tmp_path / "run"), "--json", *settings, *budget])
    shown = capsys.readouterr()
    found, manifest = json.loads(shown.out), RunFolder(tmp_path / "run").manifest()
    assert (code, found["status"], manifest["training"]["steps"]) == (0, "finished", 1)
    assert found["stopped"] == manifest["training"]["stopped"]
    assert found["stopped"].startswith("budget: ")
    assert "the best checkpoint so far was judged" in shown.err
    assert found["verdict"]["answer"]
    assert (tmp_path / "run" / "checkpoints" / "step-1").is_dir()
    assert manifest["cost"] == pytest.approx(
        2 * manifest["seconds"] / 3_600, abs=2 * 0.06 / 3_600
    )  # tenths of a second
    assert manifest["forecast"]["fits"]
    assert manifest["forecast"]["cost_high"] > 0
    assert manifest["energy"]["watt_hours"] is None or manifest["energy"]["watt_hours"] >= 0


class PluggedOutError(Exception):
    """Somebody pulled the plug."""


class PullsThePlug(Silent):
    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        if "loss" in figures and done == 4:
            raise PluggedOutError


def test_a_run_that_goes_on_may_be_given_another_budget(toy: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    overrides = [*quick, "checkpoint.every_steps=1"]
    with pytest.raises(PluggedOutError):
        train(toy, overrides=overrides, output=tmp_path / "run", progress=PullsThePlug())
    run = resume_run(RunFolder(tmp_path / "run"), budget={"max_seconds": 0.001})
    trained = run.folder.manifest()["training"]
    assert (run.status, trained["steps"]) == ("finished", 4)
    assert trained["stopped"].startswith("budget: ")
    assert "max_seconds: 0.001" in run.folder.recipe.read_text(encoding="utf-8")


def test_what_cannot_fit_is_refused_before_it_is_loaded(
    toy: Path, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "machine_memory", lambda: (2**28, 2**28))
    with pytest.raises(ModelError) as caught:
        train(toy, overrides=list(quick), output=tmp_path / "run")
    assert caught.value.code == "model/does-not-fit"
    assert "0.2 GiB are free" in caught.value.message


def test_the_license_of_a_base_stays_with_what_was_made_of_it(
    unfree_base: Path, toy: Path, quick: tuple[str, ...], tmp_path: Path
) -> None:
    overrides = [*quick, f"model.base={unfree_base}", "training.max_steps=1"]
    train(toy, overrides=overrides, output=tmp_path / "first")
    again = [*quick, f"model.base={tmp_path / 'first'}", "model.use=commercial"]
    with pytest.raises(LicenseError) as caught:
        train(toy, overrides=again, output=tmp_path / "second")
    assert caught.value.details[1] == "license named in: model.json of the run it comes from"


def test_the_catalogue_is_searched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "search", "--task", "seq2seq", "--use", "commercial", "--json"]) == 0
    bases = json.loads(capsys.readouterr().out)["bases"]
    assert bases[0]["name"] == "google-t5/t5-small"
    assert "facebook/nllb-200-distilled-600M" not in [base["name"] for base in bases]
    assert main(["models", "search", "english", "--task", "chat", "--max-parameters", "400m"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "HuggingFaceTB/SmolLM2-360M-Instruct",
    ]
    assert main(["models", "search", "klingon"]) == 1
    assert "any hub id or model folder can be used" in capsys.readouterr().out
    assert main(["models", "search", "--task", "chatt"]) == 2
    assert 'did you mean "chat"?' in capsys.readouterr().err


def test_a_base_is_shown_with_its_terms_needs_and_neighbours(
    capsys: pytest.CaptureFixture[str], unfree_base: Path
) -> None:
    assert main(["models", "show", "facebook/nllb-200-distilled-600M"]) == 0
    shown = capsys.readouterr().out
    assert "forbids commercial use: section 2(a)(1)" in shown
    assert "published as pickles only" in shown
    assert "google-t5/t5-small" in shown
    assert main(["models", "show", str(unfree_base), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["license"], found["license_source"]) == ("cc-by-nc-4.0", "README.md of the base")
    assert [need["method"] for need in found["needs"]] == ["head", "lora", "freeze", "full"]


def test_a_folder_is_checked_without_loading_it(capsys: pytest.CaptureFixture[str], unfree_base: Path) -> None:
    (unfree_base / "pytorch_model.bin").write_bytes(b"never opened")
    assert main(["models", "check", str(unfree_base)]) == 0
    shown = capsys.readouterr().out
    assert "license: cc-by-nc-4.0 (README.md of the base)" in shown
    assert "never opened: pytorch_model.bin" in shown
    assert main(["models", "check", str(unfree_base.parent)]) == 2
    assert "model/not-a-model" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--max-time", "soon"], ["--max-cost", "0"]])
def test_a_budget_that_is_none_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "a.csv", *wrong])
    assert f"not a{' time' if 'time' in wrong[0] else 'n amount of money'}" in capsys.readouterr().err


def test_money_needs_a_price(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(toy), "--max-cost", "2"]) == 2
    assert "set training.price_per_hour" in capsys.readouterr().err
