"""A job object of the hosted service becomes a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.recipe.read import read_recipe

JOB: dict[str, Any] = {
    "object": "fine_tuning.job",
    "id": "ftjob-abc",
    "model": "gpt-4o-mini-2024-07-18",
    "training_file": "file-abc",
    "seed": 683058546,
    "hyperparameters": {"n_epochs": 4, "batch_size": 2, "learning_rate_multiplier": 2.0},
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": 2}}},
    "integrations": [],
}


def test_a_job_becomes_a_recipe_that_can_be_read(
    tmp_path: Path, language_base: Path, chats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    target = tmp_path / "recipe.yaml"
    about = ["--data", str(chats), "--base", str(language_base), "--output", str(target), "--json"]
    assert main(["import-openai", str(tmp_path / "job.json"), *about]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "chat"
    recipe = read_recipe(target)
    training = recipe.training
    assert (training.epochs, training.global_batch_size, training.seed) == (4, 2, 683058546)
    assert recipe.data.train == str(chats)
    assert recipe.model.base == str(language_base)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"object": "file"}, "fine_tuning.job"),
        ({"model": None, "method": {"type": "reinforcement"}}, "Reinforcement"),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 99}}}}, "1 to 50"),
    ],
)
def test_what_is_no_job_is_refused(
    tmp_path: Path, chats: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], says: str
) -> None:
    (tmp_path / "job.json").write_text(json.dumps({**JOB, **change}))
    arguments = ["import-openai", str(tmp_path / "job.json"), "--data", str(chats), "--base", "minilm"]
    assert main([*arguments, "--output", str(tmp_path / "r.yaml")]) == 2
    assert says in capsys.readouterr().err
