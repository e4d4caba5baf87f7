"""Tables end to end: trained, resumed, judged, predicted with, and reported, with classes and with numbers."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import burnish
from burnish.errors import BurnishError, DataProblemError, InterruptedRunError, RunError
from burnish.lifecycle.judge import evaluate_run
from burnish.serving.table_package import load_table_model
from burnish.types import Silent

QUICK = ("training.threads=1", "training.max_steps=24", "training.evaluate_every_steps=8", "evaluation.resamples=200")


def write(path: Path, *, numbers: bool = False, rows: int = 160) -> Path:
    """Rows whose target depends on usage, and the other way round for one plan."""
    random = np.random.default_rng(0)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["customer", "plan", "signed", "usage", "age", "left"])
        for index in range(rows):
            plan, usage = str(random.choice(["basic", "plus", "pro"])), float(random.normal(10, 3))
            score = (10 - usage) * (-1 if plan == "pro" else 1) + float(random.normal(0, 0.5))
            left = f"{score:.3f}" if numbers else ("yes" if score > 0 else "no")
            cell = "" if random.random() < 0.1 else f"{usage:.2f}"
            date = f"2025-{1 + index % 12:02d}-{1 + index % 28:02d}"
            writer.writerow([f"c-{index}", plan, date, cell, int(random.integers(18, 80)), left])
    return path


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with classes."""
    folder = tmp_path_factory.mktemp("churn")
    return burnish.train(write(folder / "churn.csv"), overrides=QUICK, output=folder / "run")


def test_the_verdict_compares_with_the_mean_a_linear_model_and_trees(churn: Any) -> None:
    evaluation = churn.evaluation
    assert evaluation["task"] == "tabular"
    assert evaluation["metric"] == "roc-auc"
    assert list(evaluation["models"]) == ["tuned", "mean", "linear", "trees"]
    assert list(evaluation["models"]["trees"]) == [
        *("roc-auc", "pr-auc", "log-loss", "brier", "calibration-error", "accuracy", "macro-f1"),
    ]
    assert evaluation["models"]["mean"]["roc-auc"]["value"] == 0.5
    assert evaluation["verdict"]["against"] == "trees"
    assert evaluation["shipped"] in ("transformer", "trees")
    assert {entry["column"] for entry in evaluation["importance"]["columns"]} == {"plan", "signed", "usage", "age"}
    calibrated = evaluation["calibration"]["models"]
    assert next(iter(calibrated)) == ("tuned" if evaluation["shipped"] == "transformer" else "trees")
    assert sum(entry["n"] for entry in calibrated["tuned"]["bins"]["after"]) == evaluation["n"]
    # 24 validation rows are too few for a temperature, which says so
    assert "too few" in calibrated["trees"]["temperature"]["reason"]
    assert calibrated["trees"]["figures"]["log-loss"]["difference"]["value"] == 0


def test_the_recipe_says_what_was_decided(churn: Any) -> None:
    recipe = (churn.path / "recipe.yaml").read_text(encoding="utf-8")
    for line in ("task: tabular", "base: ft-transformer", "metric: roc-auc", "positive: ", "name: full"):
        assert line in recipe


def test_the_report_shows_what_a_table_has(churn: Any) -> None:
    page = churn.report.read_text(encoding="utf-8")
    for heading in ("Can its probabilities be believed?", "What it relies on", "gradient-boosted trees"):
        assert heading in page
    assert "Largest misses" not in page
    assert "ft-transformer" in (churn.path / "card.md").read_text(encoding="utf-8")


def test_predictions_come_from_the_model_that_was_shipped(churn: Any) -> None:
    row = {"plan": "basic", "usage": "3.5", "age": 40, "signed": "2025-03-04"}
    (found,) = churn.predict([row])
    assert set(found) == {"label", "probability", "probabilities"}
    assert found["probabilities"][found["label"]] == found["probability"]
    package = load_table_model(churn.path / "final")
    assert package.uses == churn.evaluation["shipped"]
    assert sum(found["probabilities"].values()) == pytest.approx(1.0)


def test_a_row_that_is_none_is_refused(churn: Any) -> None:
    with pytest.raises(DataProblemError) as caught:
        churn.predict(["basic"])
    assert caught.value.code == "predict/bad-row"
    assert caught.value.where == "item 1"
    with pytest.raises(DataProblemError) as caught:
        churn.predict([{"plan": "basic", "usage": 3}])
    assert caught.value.code == "predict/unknown-column"
    assert '"age"' in caught.value.message or '"signed"' in caught.value.message


def test_judged_again_the_numbers_are_the_same(churn: Any) -> None:
    before = churn.evaluation
    again = evaluate_run(churn.folder, data=None, runs=churn.path.parent, progress=Silent())
    assert again["opened"] == before["opened"] + 1
    assert again["models"] == before["models"]
    assert again["verdict"] == before["verdict"]


def test_other_rows_are_judged_without_writing(churn: Any, tmp_path: Path) -> None:
    text = (churn.path.parent / "churn.csv").read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([text[0], *(line.replace(",2025-", ",2026-") for line in text[1:60])]), encoding="utf-8")
    files = {path: path.read_bytes() for path in churn.path.rglob("*") if path.is_file()}
    found = evaluate_run(churn.folder, data=str(other), runs=churn.path.parent, progress=Silent())
    assert found["n"] == 59
    assert files == {path: path.read_bytes() for path in churn.path.rglob("*") if path.is_file()}


def test_compared_with_itself_it_gets_its_own_numbers(churn: Any) -> None:
    stored = burnish.compare(churn.path, churn.path)
    assert stored["models"]["a"] == churn.evaluation["models"]["tuned"]
    answered = burnish.compare(churn.path, churn.path, data=churn.path.parent / "churn.csv")
    assert answered["models"]["a"] == stored["models"]["a"]
    with pytest.raises(RunError, match="in words only"):
        burnish.compare(churn.path, f"{churn.path}@trees")


class Stops(Silent):
    """Ends the process, as far as a training can tell, after so many checkpoints."""

    def __init__(self, after: int) -> None:
        self.left = after

    def note(self, text: str) -> None:
        self.left -= text.startswith("saved checkpoint")
        if self.left == 0:
            raise KeyboardInterrupt


def test_resumed_it_ends_with_the_same_bits(
    churn: Any, tmp_path: Path, weights_of: Callable[[Path], dict[str, bytes]]
) -> None:
    options: dict[str, Any] = {"overrides": QUICK, "output": tmp_path / "run"}
    with pytest.raises((KeyboardInterrupt, InterruptedRunError)):
        burnish.train(churn.path.parent / "churn.csv", progress=Stops(1), **options)
    resumed = burnish.train(churn.path.parent / "churn.csv", resume=True, **options)
    assert weights_of(resumed.path) == weights_of(churn.path)
    for name in ("trees.txt", "model.json"):
        assert (resumed.path / "final" / name).read_bytes() == (churn.path / "final" / name).read_bytes()


def test_numbers_are_predicted_and_judged_as_numbers(tmp_path: Path) -> None:
    run = burnish.train(write(tmp_path / "scores.csv", numbers=True), overrides=QUICK, output=tmp_path / "run")
    evaluation = run.evaluation
    assert evaluation["metric"] == "r2"
    assert list(evaluation["models"]["tuned"]) == ["r2", "mae", "rmse"]
    assert evaluation["models"]["trees"]["r2"]["value"] > 0.3
    (found,) = run.predict([{"plan": "basic", "usage": 3, "age": 40, "signed": "2025-03-04"}])
    assert set(found) == {"value"}
    page = run.report.read_text(encoding="utf-8")
    assert "Largest misses" in page
    assert "Class by class" not in page


def test_several_classes_and_class_weights(tmp_path: Path) -> None:
    path = tmp_path / "plans.csv"
    rows = [f"{i % 7},{'xyz'[i % 3]},{(i * 5) % 11 / 10},{'abc'[i % 3 if i % 8 else 0]}" for i in range(180)]
    path.write_text("\n".join(["size,kind,price,class", *rows]), encoding="utf-8")
    run = burnish.train(path, overrides=[*QUICK, "data.balance=weights"], output=tmp_path / "run")
    assert run.evaluation["metric"] == "macro-f1"
    assert "pr-auc" not in run.evaluation["models"]["tuned"]
    assert set(run.predict([{"size": 1, "kind": "x", "price": 0.3}])[0]["probabilities"]) == {"a", "b", "c"}


def test_a_damaged_model_is_not_opened(churn: Any, tmp_path: Path) -> None:
    copy = tmp_path / "final"
    shutil.copytree(churn.path / "final", copy)
    (copy / "trees.txt").write_text((copy / "trees.txt").read_text().replace("leaf_value=", "leaf_value=9", 1))
    with pytest.raises(BurnishError) as caught:
        load_table_model(copy)
    assert caught.value.code == "storage/damaged"


@pytest.mark.parametrize(
    ("override", "code", "where"),
    [
        ("table.positive=maybe", "recipe/invalid", "table.positive"),
        ("evaluation.metric=r2", "recipe/invalid", "evaluation.metric"),
        ("model.base=bert-base-cased", "recipe/invalid", "model.base"),
        ("method=lora", "recipe/method-not-offered", "method"),
        ("data.noisy_copies=1", "recipe/invalid", "data.noisy_copies"),
        ("data.balance=oversample", "data/nothing-to-balance", "data.balance"),
        ('table.drop=["nothing"]', "recipe/unknown-table-column", "table.drop"),
    ],
)
def test_what_does_not_fit_a_table_is_said_before_anything_is_trained(
    tmp_path: Path, override: str, code: str, where: str
) -> None:
    with pytest.raises(BurnishError) as caught:
        burnish.train(write(tmp_path / "churn.csv"), overrides=[*QUICK, override], output=tmp_path / "run")
    assert caught.value.code == code
    assert where in str(caught.value)


def test_the_run_is_described_in_its_manifest(churn: Any) -> None:
    manifest = json.loads((churn.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["task"] == "tabular"
    assert manifest["base"]["name"] == "ft-transformer"
    assert manifest["training"]["total_parameters"] == manifest["training"]["trainable_parameters"]


@pytest.mark.real_data
def test_odd_files_end_in_one_clear_message(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "bad_inputs" / "csv_spectrum.zip") as archive:
        archive.extractall(tmp_path)
    paths = sorted(tmp_path.rglob("*.csv"))
    assert len(paths) == 12
    for path in paths:
        with pytest.raises(BurnishError) as caught:
            burnish.train(path, overrides=[*QUICK, "task=tabular"], output=tmp_path / f"run-{path.stem}")
        assert caught.value.code in ("data/rows-of-another-task", "data/too-few-rows"), path.name
        assert caught.value.hint


@pytest.mark.real_data
@pytest.mark.slow
def test_german_credit(shared_data: Path, tmp_path: Path) -> None:
    """A few steps of the transformer are no match for trees; the run says so and ends with them."""
    path = shared_data / "german_credit" / "german.csv"
    run = burnish.train(path, overrides=QUICK, output=tmp_path / "run")
    assert run.evaluation["metric"] == "roc-auc"
    assert run.evaluation["n"] == 150
    assert run.evaluation["models"]["trees"]["roc-auc"]["value"] > 0.68
    assert run.evaluation["shipped"] == "trees"
    assert load_table_model(run.path / "final").uses == "trees"
    assert "positive: '2'" in (run.path / "recipe.yaml").read_text(encoding="utf-8")
