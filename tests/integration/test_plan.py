"""`burnish plan` and `burnish curve` on the toy rows, through Python and through the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.cli.show_curve import show_curve
from burnish.cli.show_plan import show_plan
from burnish.evaluation.report_curve import render_curve
from burnish.evaluation.report_plan import render_plan
from burnish.lifecycle import advise, rehearse
from burnish.lifecycle.advise import plan
from burnish.lifecycle.curve import curve
from burnish.recipe.read import read_recipe


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are enough to be judged on, and few steps to be a rehearsal."""
    monkeypatch.setattr(rehearse, "FEW_JUDGED", 10)
    monkeypatch.setattr(advise, "STEPS", 6)


@pytest.mark.usefixtures("short")
def test_a_plan_advises_the_baseline_that_solves_the_rows_and_leaves_the_test_rows_alone(
    toy: Path, quick: Sequence[str], tmp_path: Path
) -> None:
    found = plan(toy, overrides=quick, output=tmp_path / "recipe.yaml", from_scratch=True)

    assert (found["answer"], found["use"]) == ("use a classic baseline", "tf-idf")
    assert found["arms"]["tf-idf"]["value"] == 1.0
    assert {"majority", "base-probe", "base-centroid", "from-scratch"} <= set(found["arms"])
    assert found["data"]["rows"] == {"train": 126, "validation": 27, "test": 27}
    assert found["data"]["measured_on"]["judged"] == [27]
    assert len(found["curve"]["points"]) == 3
    assert read_recipe(tmp_path / "recipe.yaml").training.learning_rate == 2e-2
    assert {"model.base", "method", "training.learning_rate"} <= {choice["field"] for choice in found["choices"]}
    shown = show_plan(found)
    assert "USE A CLASSIC BASELINE: tf-idf (likely)" in shown
    assert "27 test rows stay sealed" in shown
    assert "TF-IDF" in render_plan(found)


@pytest.mark.usefixtures("short")
def test_a_stopped_curve_goes_on_with_what_is_missing(
    toy: Path, sentence_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [f"model.base={sentence_base}", "training.threads=1", "evaluation.resamples=200"]
    place = tmp_path / "curve"
    found = curve(toy, overrides=overrides, points=3, output=place)
    kept = {path.name: path.stat().st_mtime_ns for path in place.glob("point-*.json")}
    (place / "point-31.json").unlink()
    arguments = ["curve", str(toy), "--points", "3", "--output", str(place), "--json"]
    assert main([*arguments, *(word for pair in overrides for word in ("--set", pair))]) == 0
    again: dict[str, Any] = json.loads(capsys.readouterr().out)

    assert found["method"] == "head"
    assert [point["rows"] for point in found["points"]] == sorted(point["rows"] for point in found["points"])
    assert [forecast["rows"] for forecast in found["forecast"]] == [126, 252, 1260]
    assert again["forecast"] == found["forecast"]
    now = {path.name: path.stat().st_mtime_ns for path in place.glob("point-*.json")}
    assert {name for name in kept if now[name] == kept[name]} == set(kept) - {"point-31.json"}
    assert found["lever"].upper() in show_curve(found)
    assert "<svg" in render_curve(found)
