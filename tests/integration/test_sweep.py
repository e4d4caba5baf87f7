"""A sweep over a tiny base: trials, giving up early, a stop in the middle, and the verdict on the winner."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.errors import DivergedError, RecipeError, RunError, UsageError
from burnish.evaluation.report_sweep import render_sweep
from burnish.lifecycle import search, trial
from burnish.lifecycle.sweep import sweep
from burnish.storage.lock import exclusive
from burnish.types import Silent

RATES = "training.learning_rate=1e-6..3e-2"  # the low ones learn nothing
FEW = ("evaluation.resamples=100", "training.epochs=4", "method=full")


@pytest.fixture(scope="module")
def swept(toy: Path, quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    over = [RATES, "training.global_batch_size=8,16"]
    place = tmp_path_factory.mktemp("sweep") / "sweep"
    return sweep(toy, overrides=[*quick, *FEW], over=over, trials=7, output=place)


def test_the_first_trial_is_the_recipe_and_the_best_wins(swept: dict[str, Any]) -> None:
    rows = swept["trials"]
    assert len(rows) == 7
    assert swept["first"] == rows[0]
    whole = [row["value"] for row in rows if row["state"] == "complete"]
    assert swept["best"]["value"] == max(whole) >= swept["first"]["value"]
    assert set(swept["best"]["values"]) == {"training.learning_rate", "training.global_batch_size"}


def test_the_hopeless_are_given_up(swept: dict[str, Any]) -> None:
    pruned = [row for row in swept["trials"] if row["state"] == "pruned"]
    assert pruned, "rates that learn nothing are tried to their end"
    assert all(len(row["evaluations"]) < row["of"] for row in pruned)
    assert swept["saved"]["trials"] == len(pruned)
    assert 0 < swept["saved"]["seconds"] < swept["saved"]["of_seconds"]


def test_the_winner_is_judged_once(swept: dict[str, Any]) -> None:
    run = Path(swept["run"])
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["opened"] == 1
    assert evaluation["verdict"] == swept["verdict"]
    assert not list(Path(swept["folder"]).glob("trials/*/evaluation.json")), "a trial opens no test rows"
    assert not list(Path(swept["folder"]).glob("trials/*/checkpoints/*")), "checkpoints of trials are left"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    accuracies = [line["validation"][swept["metric"]] for line in lines if "validation" in line]
    assert max(accuracies) == swept["best"]["value"], "the winner trains as its trial did"


def test_it_goes_on_where_it_was(swept: dict[str, Any], toy: Path, quick: tuple[str, ...]) -> None:
    """All trials are there: nothing is trained again, and the same comes out."""
    over = [RATES, "training.global_batch_size=8,16"]
    again = sweep(toy, overrides=[*quick, *FEW], over=over, trials=7, output=swept["folder"])
    assert again == swept


def test_another_space_wants_another_folder(swept: dict[str, Any], toy: Path, quick: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        sweep(toy, overrides=[*quick, *FEW], over=[RATES], trials=7, output=swept["folder"])
    assert caught.value.code == "sweep/other-sweep"
    assert caught.value.where == swept["folder"]


def test_the_page_says_it(swept: dict[str, Any]) -> None:
    page = render_sweep(swept)
    assert "Trials through their values" in page
    assert "given up early" in page
    assert page.count("<polyline") == sum(row["state"] == "complete" for row in swept["trials"])


class _Killed(BaseException):
    """The process is gone."""


class _KillsInTrial(Silent):
    """Ends the process in a step of the third trial."""

    def __init__(self) -> None:
        self.trials = 0

    def stage(self, name: str) -> None:
        self.trials += name.startswith("trial ")

    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        if self.trials == 3 and done == 5:
            raise _Killed


def test_a_killed_sweep_goes_on_from_the_checkpoint(toy: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"overrides": [*quick, *FEW, "checkpoint.every_steps=2"], "over": [RATES], "trials": 4}
    with pytest.raises(_Killed):
        sweep(toy, output=tmp_path / "sweep", progress=_KillsInTrial(), **chosen)
    killed = [place for place in (tmp_path / "sweep" / "trials").iterdir() if not (place / "trial.json").exists()]
    assert len(killed) == 1
    found = sweep(toy, output=tmp_path / "sweep", **chosen)
    assert len(found["trials"]) == 4
    assert "resumed" in (killed[0] / "events.jsonl").read_text(encoding="utf-8")
    straight = sweep(toy, output=tmp_path / "straight", **chosen)
    values = json.loads((killed[0] / "trial.json").read_text(encoding="utf-8"))
    same = next(row for row in straight["trials"] if row["values"] == values["values"])
    assert values["evaluations"] == same["evaluations"], "a trial that went on differs from one that never stopped"


def test_a_trial_at_work_elsewhere_is_left_alone(tmp_path: Path) -> None:
    ground = trial.Ground({}, None, None, tmp_path, Silent())  # type: ignore[arg-type]  # nothing is trained
    place = ground.folder({"method.rank": 4})
    place.mkdir(parents=True)
    with exclusive(place), pytest.raises(RunError) as caught:
        trial.attempt(ground, {"method.rank": 4}, lambda *_: False)
    assert caught.value.code == "run/locked"


def test_only_places_of_dead_processes_are_free(tmp_path: Path) -> None:
    with search._own_place(tmp_path) as first, search._own_place(tmp_path) as second:
        assert first != second
        assert not search._is_free(tmp_path / first)
    assert search._is_free(tmp_path / first)


@pytest.mark.parametrize(
    ("chosen", "code"),
    [
        ({"trials": 1}, "sweep/too-few-trials"),
        ({"over": ["training.seed=1..4"]}, "sweep/bad-space"),
        ({"overrides": ["method=head"]}, "sweep/nothing-to-search"),
    ],
)
def test_what_is_no_sweep(toy: Path, sentence_base: Path, chosen: dict[str, Any], code: str, tmp_path: Path) -> None:
    overrides = [f"model.base={sentence_base}", "data.near_duplicates=false", *chosen.pop("overrides", [])]
    with pytest.raises((UsageError, RecipeError)) as caught:
        sweep(toy, overrides=overrides, output=tmp_path / "sweep", **chosen)
    assert caught.value.code == code
    assert caught.value.hint


def test_methods_are_searched_with_their_own_fields(toy: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    """A head has no rank. Values that come up again are not trained again: there are three kinds of trials."""
    over = ["method=head,lora", "method.rank=2,4"]
    stepwise = ("method", "training.epochs", "training.learning_rate", "training.average_decay")  # not of a head
    options = [option for option in quick if not option.startswith(stepwise)]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        arguments = [*(f"--set={option}" for option in options), *(f"--over={text}" for text in over), "--trials=10"]
        code = main(["sweep", str(toy), *arguments, "--output", str(tmp_path / "sweep"), "--json"])
    assert code == 0
    found = json.loads(out.getvalue())
    heads = [row for row in found["trials"] if row["values"]["method"] == "head"]
    loras = [row for row in found["trials"] if row["values"]["method"] == "lora"]
    assert heads
    assert loras
    assert len(list((tmp_path / "sweep" / "trials").iterdir())) <= 3
    assert all(set(row["values"]) == {"method"} for row in heads)
    assert all(set(row["values"]) == {"method", "method.rank"} for row in loras)


def test_nothing_that_came_to_its_end(
    toy: Path, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> dict[str, Any]:
        return {"state": "failed", "value": None, "evaluations": [], "of": 4, "why": "the loss is nan"}

    monkeypatch.setattr(trial, "_train", breaks)
    with pytest.raises(DivergedError) as caught:
        sweep(toy, overrides=[*quick, *FEW], over=[RATES], trials=2, output=tmp_path / "sweep")
    assert caught.value.code == "sweep/nothing-found"
    assert "the loss is nan" in caught.value.message
