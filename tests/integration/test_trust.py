"""Trust end to end: groups, temperatures and thresholds of a trained classifier, and what `predict` does with them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import burnish
from burnish.cli.main import main
from burnish.errors import BurnishError, DataReadError, UsageError
from burnish.lifecycle.judge import evaluate_run
from burnish.lifecycle.runs import with_unsure
from burnish.types import Silent


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory, toy_rows: list[tuple[str, str]]) -> Path:
    """The toy rows with two more columns: who wrote them, and how old a writer is."""
    path = tmp_path_factory.mktemp("data") / "grouped.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["body", "intent", "writer", "age"])
        for index, (text, label) in enumerate(toy_rows):
            writer.writerow([text, "card" if label == "card" else "other", "ab"[index % 5 < 2], 18 + index % 40])
    return path


SPLIT = ("data.validation_ratio=0.3", "data.test_ratio=0.4")


@pytest.fixture(scope="module")
def trusted(grouped: Path, quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Any:
    extra = ("evaluation.groups=[writer, age]", "evaluation.max_gap=0.9", "evaluation.min_accuracy=0.7")
    output = tmp_path_factory.mktemp("runs") / "run"
    return burnish.train(grouped, overrides=(*quick, *SPLIT, *extra), output=output)


def test_groups_of_columns_that_are_no_input_are_judged(trusted: Any) -> None:
    evaluation = trusted.evaluation
    writer, age = evaluation["groups"]["columns"]
    assert (writer["column"], writer["positive"]) == ("writer", "card")
    assert sum(g["n"] for g in [*writer["groups"], *writer["too_small"]]) == evaluation["n"]
    quarters = [g["group"] for g in [*age["groups"], *age["too_small"]]]
    assert len(quarters) == 4
    assert sum(name.startswith("under ") for name in quarters) == 1
    assert sum(name.endswith(" or more") for name in quarters) == 1
    (gate,) = evaluation["gates"]
    assert (gate["name"], gate["passed"]) == ("groups", True)


def test_the_temperature_is_stored_and_applied_and_changes_no_label(trusted: Any) -> None:
    about = json.loads((trusted.folder.final / "model.json").read_text(encoding="utf-8"))
    temperature = about["calibration"]["temperature"]
    assert (about["calibration"]["n"], about["calibration"]["reason"]) == (54, "")
    assert temperature != 1.0
    found = trusted.evaluation["calibration"]["models"]["tuned"]
    assert found["temperature"] == about["calibration"]
    assert sum(entry["n"] for entry in found["bins"]["after"]) == trusted.evaluation["n"]
    texts = ["where is my card", "late transfer", "the refund", "lost my cash"]
    calibrated = burnish.load(trusted.path).predict(texts)
    plain = burnish.load(trusted.path)
    plain.predict(["a"])
    assert plain._predictor is not None
    plain._predictor.task.temperature = 1.0
    before = plain.predict(texts)
    assert [row["label"] for row in calibrated] == [row["label"] for row in before]
    assert [row["margin"] for row in calibrated] == [row["margin"] for row in before]
    assert [row["probability"] for row in calibrated] != [row["probability"] for row in before]


def test_predictions_of_the_verdict_are_those_of_the_model(trusted: Any) -> None:
    kept = list(trusted.folder.rows(trusted.folder.predictions))[:8]
    again = trusted.predict([row["text"] for row in kept])
    assert [row["label"] for row in again] == [row["prediction"] for row in kept]
    assert [row["probability"] for row in again] == pytest.approx([row["probability"] for row in kept], abs=1e-4)


def test_other_spellings_are_judged_on_the_same_rows(trusted: Any) -> None:
    found = trusted.evaluation["robustness"]
    assert found["n"] == min(125, trusted.evaluation["n"])
    assert list(found["kinds"]) == ["typos", "upper", "lower", "spaces"]
    assert found["kinds"]["lower"]["drop"]["value"] == 0  # the toy rows are in small letters


def test_the_report_shows_it(trusted: Any) -> None:
    page = trusted.report.read_text(encoding="utf-8")
    for heading in ("Is it as good for every group?", "Can its probabilities be believed?", "--min-confidence"):
        assert heading in page
    assert "Does it hold up when people type?" in page


def test_judged_on_other_rows_the_groups_are_theirs(trusted: Any, grouped: Path, tmp_path: Path) -> None:
    lines = grouped.read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([lines[0], *(f"so {line}" for line in lines[1:])]), encoding="utf-8")
    found = evaluate_run(trusted.folder, data=str(other), runs=trusted.path.parent, progress=Silent())
    assert sum(g["n"] for g in found["groups"]["columns"][0]["groups"]) == found["n"]
    other.write_text("body,intent\nso where is my card,card\n", encoding="utf-8")
    with pytest.raises(DataReadError) as caught:
        evaluate_run(trusted.folder, data=str(other), runs=trusted.path.parent, progress=Silent())
    assert caught.value.code == "data/unknown-column"
    assert "evaluation.groups" in str(caught.value.hint)


def test_a_column_that_is_not_there_is_refused_before_training(grouped: Path, quick: tuple[str, ...]) -> None:
    with pytest.raises(DataReadError) as caught:
        burnish.train(grouped, overrides=(*quick, "evaluation.groups=[writre]"), output=grouped.parent / "absent")
    assert caught.value.code == "data/unknown-column"
    assert 'did you mean "writer"?' in str(caught.value.hint)


def test_unsure_rows_are_marked(trusted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["predict", str(trusted.path), "--text", "where is my card", "--text", "a", "--json"]
    assert main([*arguments, "--min-confidence", "0.999999"]) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    sure = [row["probability"] >= 0.999999 for row in answer["predictions"]]
    assert [row["label"] == "unsure" for row in answer["predictions"]] == [not s for s in sure]
    assert all(("guess" in row) != s for row, s in zip(answer["predictions"], sure, strict=True))
    assert answer["calibration"]["n"] == 54
    assert main(arguments) == 0
    assert all("guess" not in row for row in json.loads(capsys.readouterr().out)["predictions"])


def test_a_confidence_is_a_share(trusted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", str(trusted.path), "--text", "a", "--min-confidence", "1.2"])
    assert "from 0 to 1" in capsys.readouterr().err


def test_what_has_no_label_cannot_be_unsure() -> None:
    with pytest.raises(UsageError) as caught:
        with_unsure([{"answer": "yes"}], 0.5)
    assert caught.value.code == "predict/no-confidence"
    assert caught.value.where == "--min-confidence"
    assert caught.value.hint == "leave it out"


def test_without_enough_validation_rows_there_is_no_temperature(
    toy: Path, quick: tuple[str, ...], tmp_path: Path
) -> None:
    run = burnish.train(
        toy, overrides=(*quick, "training.max_steps=2", "evaluation.robustness_rows=0"), output=tmp_path / "run"
    )
    about = json.loads((run.folder.final / "model.json").read_text(encoding="utf-8"))
    assert about["calibration"]["temperature"] == 1.0
    assert "too few" in about["calibration"]["reason"]
    assert "robustness" not in run.evaluation
    assert "its probabilities stay as they come" in run.report.read_text(encoding="utf-8")


def test_tasks_that_are_not_judged_row_by_row_have_no_groups(chats: Path) -> None:
    with pytest.raises(BurnishError) as caught:
        burnish.train(chats, overrides=("evaluation.groups=[a]",), output=chats.parent / "absent")
    assert "evaluation.groups" in str(caught.value)
