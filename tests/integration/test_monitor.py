"""New rows against the rows a run was judged on: silence where nothing has changed, an alarm that explains itself."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import burnish
from burnish.cli.main import main
from burnish.errors import BurnishError
from burnish.lifecycle.monitor import monitor
from burnish.monitoring.reference import load_reference
from burnish.storage.durable import damage_of

Overrides = Callable[[str], list[str]]
KEYWORDS = {"card": ("card", "cash"), "late": ("late", "transfer"), "refund": ("refund", "money")}
FILLERS = ("my", "the", "where", "lost", "is", "it", "on", "a", "no", "so")


def texts(count: int, *, seed: int) -> list[tuple[str, str]]:
    """Different texts with the keyword of their class between other words."""
    random = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        label = sorted(KEYWORDS)[len(found) % 3]
        before, after = (list(random.choice(FILLERS, size=random.integers(2, 6))) for _ in range(2))
        found.setdefault(" ".join([*before, str(random.choice(KEYWORDS[label])), *after]), label)
    return list(found.items())


def strange(count: int) -> list[tuple[str, str]]:
    """Texts that no class has seen."""
    random = np.random.default_rng(9)
    return [("".join(random.choice(list("0123456789!?"), size=40)), "refund") for _ in range(count)]


def write(path: Path, rows: Sequence[tuple[str, str]], *, labels: bool = True) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("text", "label"), *rows] if labels else [("text",), *((text,) for text, _ in rows)])
    return path


def all_wrong(run: Any, path: Path) -> Path:
    """Rows with labels that the model contradicts, all but the first."""
    asked = [text for text, _ in texts(120, seed=3)]
    said = [prediction["label"] for prediction in run.predict(asked)]
    other = {"card": "late", "late": "refund", "refund": "card"}
    return write(
        path, [(asked[0], said[0]), *((text, other[label]) for text, label in zip(asked[1:], said[1:], strict=True))]
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, overrides_of: Overrides) -> Any:
    """A run with 150 test rows."""
    folder = tmp_path_factory.mktemp("watched")
    train, test = write(folder / "train.csv", texts(120, seed=0)), write(folder / "test.csv", texts(150, seed=1))
    return burnish.train(train, test=test, overrides=overrides_of("head"), output=folder / "run")


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("new") / "same.csv", texts(120, seed=2), labels=False)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 rows as before, and from line 62 on 30 of another kind."""
    return write(tmp_path_factory.mktemp("new") / "changed.csv", [*texts(60, seed=2), *strange(30)])


def test_a_run_keeps_what_it_needs_and_no_text(watched: Any) -> None:
    folder = watched.path / "reference"
    assert damage_of(folder, ["reference.safetensors", "reference.json"]) is None
    sample = load_reference(folder)
    assert sample.vectors is not None
    assert sample.vectors.shape == (150, 16)
    assert set(sample.numbers) == {"length", "confidence"}
    assert set(sample.kinds) == {"prediction", "label"}
    assert not any(text.encode() in path.read_bytes() for path in folder.iterdir() for text, _ in texts(150, seed=1))


def test_rows_like_those_of_the_test_are_silent(watched: Any, same: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", str(watched.path), "--data", str(same)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("NO DRIFT SEEN\n")
    assert "120 of 120 new rows against 150 test rows; a false alarm has a chance of 0.01" in shown
    assert shown.count("as before") == 4
    assert "120 rows show only larger changes" in shown


def test_the_test_rows_themselves_look_the_same_to_the_last_number(watched: Any, tmp_path: Path) -> None:
    found = monitor(watched.path, write(tmp_path / "again.csv", texts(150, seed=1)), labels=True)
    assert found["answer"] == "no drift seen"
    assert {test["of"] for test in found["tests"]} == {
        *("inputs", "length", "confidence", "prediction", "label", "quality")
    }
    statistics = {test["of"]: test["statistic"] for test in found["tests"]}
    assert statistics["prediction"] == statistics["label"] == statistics["length"] == statistics["quality"] == 0
    assert statistics["confidence"] == pytest.approx(0, abs=1e-3)


def test_drift_is_told_with_the_rows_that_look_new(
    watched: Any, changed: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    assert main(["monitor", str(watched.path), "--data", str(changed), "--html", str(page), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["answer"] == "drift"
    assert {"inputs", "length"} <= {test["of"] for test in found["tests"] if test["alarm"]}
    assert 1 <= found["new"]["count"] <= 30
    written = [*texts(60, seed=2), *strange(30)]
    assert all(row["excerpt"] == written[row["line"] - 2][0] for row in found["new"]["rows"])
    assert {row["file"] for row in found["new"]["rows"]} == {str(changed)}
    assert len(found["new"]["rows"]) == min(10, found["new"]["count"])
    assert not found["quality"]["measured"]
    shown = page.read_text(encoding="utf-8")
    assert "The new rows are not like those this model was judged on." in shown
    assert "Rows that look new" in shown
    assert "<script" not in shown


def test_with_labels_the_fall_of_the_metric_is_measured(
    watched: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = all_wrong(watched, tmp_path / "relabelled.csv")
    assert main(["monitor", str(watched.path), "--data", str(data), "--labels"]) == 1
    shown = capsys.readouterr().out
    assert "how good its answers are     changed" in shown
    assert "the rule is 5%" in shown
    assert "Label some of the rows that look new" in shown


def test_a_fall_within_the_rule_is_no_alarm(watched: Any, tmp_path: Path) -> None:
    shutil.copytree(watched.path, run := tmp_path / "run")
    recipe = (run / "recipe.yaml").read_text(encoding="utf-8")
    (run / "recipe.yaml").write_text(recipe.replace("quality_fall: 0.05", "quality_fall: 0.999"), encoding="utf-8")
    found = monitor(run, all_wrong(watched, tmp_path / "new.csv"), labels=True)
    quality = next(test for test in found["tests"] if test["of"] == "quality")
    assert quality["adjusted"] <= 0.01
    assert not quality["alarm"]


def test_few_rows_give_no_comfort(watched: Any, tmp_path: Path) -> None:
    found = monitor(watched.path, write(tmp_path / "few.csv", texts(20, seed=2)))
    assert found["answer"] == "too few rows"
    assert found["power"].startswith("20 rows show only larger changes")


def refused(run: Path, data: Path, **options: Any) -> BurnishError:
    with pytest.raises(BurnishError) as caught:
        monitor(run, data, **options)
    return caught.value


def test_hardly_any_rows_are_refused(watched: Any, tmp_path: Path) -> None:
    error = refused(watched.path, write(tmp_path / "few.csv", texts(9, seed=2)))
    assert error.code == "monitor/too-few-rows"
    assert error.message.startswith("9 new rows can show nothing: 10 at least")
    assert error.exit_code == 1


def test_a_chance_outside_its_range_is_refused(watched: Any, same: Path) -> None:
    error = refused(watched.path, same, alpha=0.5)
    assert (error.code, error.where, error.hint) == ("monitor/alpha", "--alpha", "write --alpha 0.01")


def test_a_file_without_the_texts_is_refused(watched: Any, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("id,number\n1,2\n", encoding="utf-8")
    assert refused(watched.path, tmp_path / "other.csv").code == "data/unknown-column"


def test_a_file_without_rows_is_refused(watched: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text('text\n" "\n', encoding="utf-8")
    error = refused(watched.path, tmp_path / "empty.csv")
    assert (error.code, error.where) == ("monitor/no-rows", str(tmp_path / "empty.csv"))


def test_a_run_without_a_reference_says_so(watched: Any, same: Path, tmp_path: Path) -> None:
    shutil.copytree(watched.path, run := tmp_path / "run", ignore=shutil.ignore_patterns("reference"))
    error = refused(run, same)
    assert (error.code, error.where) == ("monitor/no-reference", str(run))
    assert "monitoring.reference_rows is 0" in error.message


def test_a_damaged_reference_is_named(watched: Any, same: Path, tmp_path: Path) -> None:
    shutil.copytree(watched.path, run := tmp_path / "run")
    (run / "reference" / "reference.json").write_text("{}", encoding="utf-8")
    assert refused(run, same).code == "storage/damaged"


def test_another_base_is_refused(watched: Any, same: Path, tmp_path: Path) -> None:
    shutil.copytree(watched.path, run := tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest["base"]["sha256"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert refused(run, same).code == "monitor/other-base"


def test_a_task_that_is_not_watched_says_so(watched: Any, same: Path, tmp_path: Path) -> None:
    shutil.copytree(watched.path, run := tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    (run / "manifest.json").write_text(json.dumps({**manifest, "task": "embedding"}), encoding="utf-8")
    error = refused(run, same)
    assert error.code == "monitor/not-for-task"
    assert "text-classification" in error.known


def test_no_reference_is_kept_when_none_is_wanted(tmp_path: Path, overrides_of: Overrides) -> None:
    data = write(tmp_path / "rows.csv", texts(120, seed=0))
    run = burnish.train(
        data, overrides=[*overrides_of("head"), "monitoring.reference_rows=0"], output=tmp_path / "none"
    )
    assert not (run.path / "reference").exists()


def test_a_cut_of_the_test_rows_is_kept(tmp_path: Path, overrides_of: Overrides) -> None:
    train, test = write(tmp_path / "rows.csv", texts(90, seed=0)), write(tmp_path / "test.csv", texts(60, seed=1))
    overrides = [*overrides_of("head"), "monitoring.reference_rows=20"]
    run = burnish.train(train, test=test, overrides=overrides, output=tmp_path / "run")
    assert len(load_reference(run.path / "reference")) == 20


def test_a_table_is_compared_column_by_column(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def rows(path: Path, count: int, shift: float, *, target: bool = True) -> Path:
        usage, plan = random.normal(10 + shift, 3, size=count), random.choice(["basic", "pro"], size=count)
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["plan", "usage", "left"] if target else ["plan", "usage"])
            left = np.where(usage + random.normal(size=count) > 10, "yes", "no").tolist()
            for cells in zip(plan.tolist(), usage.round(3).tolist(), left, strict=True):
                writer.writerow(cells if target else cells[:2])
        return path

    quick = ("task=tabular", "training.max_steps=8", "training.threads=1", "evaluation.resamples=200")
    run = burnish.train(
        rows(tmp_path / "train.csv", 120, 0),
        test=rows(tmp_path / "test.csv", 100, 0),
        overrides=quick,
        output=tmp_path / "run",
    )
    assert load_reference(run.path / "reference").vectors is None
    calm = monitor(run.path, rows(tmp_path / "calm.csv", 80, 0), labels=True)
    assert calm["answer"] == "no drift seen"
    assert {"column usage", "column plan", "prediction", "label", "quality"} <= {test["of"] for test in calm["tests"]}
    found = monitor(run.path, rows(tmp_path / "new.csv", 80, 6, target=False))
    alarms = {test["of"] for test in found["tests"] if test["alarm"]}
    assert {"inputs", "column usage"} <= alarms
    assert "column plan" not in alarms
