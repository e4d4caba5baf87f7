"""A rehearsal on the toy rows: judged on rows that are not the test's, with what the arms reach on fewer rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.data.prepare import PreparedData
from burnish.lifecycle.decided import decided
from burnish.lifecycle.own import Own
from burnish.lifecycle.recipe_of import recipe_of
from burnish.lifecycle.rehearse import FOLDS, cut, rehearsal_parts, rehearse
from burnish.lifecycle.train import read_rows, train
from burnish.model.find import find_base
from burnish.recipe.schema import Recipe
from burnish.types import Silent, Split

Opened = tuple[Recipe, Any, PreparedData]


@pytest.fixture
def opened(toy: Path, quick: Sequence[str]) -> Opened:
    return read_rows(recipe_of(toy, test=None, overrides=quick, seed=None)[0], Own())


def test_no_test_row_is_in_a_rehearsal_and_all_others_are_judged_on_in_turns(opened: Opened) -> None:
    recipe, _, data = opened
    parts = rehearsal_parts(data, recipe.data, most_rows=1_000, most_judged=1_000, seed=13)
    sealed = {example.origin for example in data.splits[Split.TEST]}
    others = [example.origin for split in (Split.TRAIN, Split.VALIDATION) for example in data.splits[split]]

    assert len(parts) == FOLDS
    for part in parts:
        origins = [example.origin for rows in part.splits.values() for example in rows]
        assert len(set(origins)) == len(origins)
        assert not sealed & set(origins)
    judged = [example.origin for part in parts for example in part.splits[Split.TEST]]
    assert sorted(judged, key=str) == sorted(others, key=str)


def test_a_cut_keeps_every_class_and_is_nested(opened: Opened) -> None:
    recipe, _, data = opened
    rows = data.splits[Split.TRAIN]
    many, few = cut(rows, 60, recipe.data, 13), cut(rows, 20, recipe.data, 13)

    assert abs(len(many) - 60) <= 3
    assert abs(len(few) - 20) <= 3
    assert {id(e) for e in few} <= {id(e) for e in many}
    assert {e.row["label"] for e in few} == {e.row["label"] for e in rows}


def test_a_rehearsal_trains_judges_and_measures_the_arms_on_fewer_rows(opened: Opened, tmp_path: Path) -> None:
    recipe, task, data = opened
    base = find_base(recipe.model, recipe_folder=Path(), runs=tmp_path)
    recipe = decided(recipe, data, base, task, Silent())
    part = rehearsal_parts(data, recipe.data, most_rows=1_000, most_judged=1_000, seed=13)[0]
    found = rehearse(recipe, part, base, task, steps=6, runs=tmp_path, progress=Silent())

    assert found.training["steps"] == 6
    assert found.evaluation["n"] == len(found.rows) == len(part.splits[Split.TEST])
    assert [arms.train_rows for arms in found.fewer] == sorted(arms.train_rows for arms in found.fewer)
    assert found.fewer[-1].train_rows == found.train_rows == len(part.splits[Split.TRAIN])
    of_all = found.fewer[-1].values["tf-idf"].value
    assert of_all == pytest.approx(found.evaluation["models"]["tf-idf"]["accuracy"]["value"])
    assert found.disagreeing is not None
    assert 0 <= found.disagreeing <= 1
    assert not list(tmp_path.iterdir())


def test_a_classifier_learns_from_weights_that_are_drawn(toy: Path, quick: Sequence[str], tmp_path: Path) -> None:
    drawn = [*quick, "model.initialization=random", "training.epochs=1"]
    run = train(toy, overrides=drawn, output=tmp_path / "run")
    manifest = json.loads((run.path / "manifest.json").read_text(encoding="utf-8"))

    assert manifest["base"]["initialization"] == "random"
    assert set(run.evaluation["models"]) == {"tuned", "majority", "tf-idf"}  # vectors of a drawn base say nothing
