"""Preferences from pairs to the verdict: every loss, every method, and the reference that does not move."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.cli.main import main
from burnish.errors import DataProblemError, RecipeError
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import resume_run, train
from burnish.storage.run_folder import RunFolder
from burnish.task.text_classification import TextClassification
from burnish.types import Silent

QUICK = ("training.epochs=3", "training.learning_rate=0.01", "training.log_every_steps=1", "training.threads=1")
EXAMPLES = Path(__file__).parents[2] / "examples"
COLOURS = ("red", "blue", "green", "white", "black", "pink", "grey")
THINGS = ("stone", "door", "lamp", "fish", "cloud", "book", "shoe", "tree")


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, Any]]:
    """56 different questions; the better answer names the thing, the worse one shouts."""
    return [
        {
            "prompt": f"what is {colour} here, the {thing}?",
            "chosen": f"the {thing} is {colour}",
            "rejected": f"{colour.upper()}!! {thing.upper()}!!",
        }
        for colour in COLOURS
        for thing in THINGS
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(
    pairs: list[dict[str, Any]], language_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Run]:
    """A finished run of a loss and a method."""
    made: dict[tuple[str, str], Run] = {}
    data = write(tmp_path_factory.mktemp("data") / "pairs.jsonl", pairs)

    def make(loss: str, method: str = "lora") -> Run:
        if (loss, method) not in made:
            overrides = [*QUICK, f"model.base={language_base}", f"method={method}", f"preference.loss={loss}"]
            folder = tmp_path_factory.mktemp("runs") / "run"
            made[loss, method] = train(data, overrides=[*overrides, "data.near_duplicates=false"], output=folder)
        return made[loss, method]

    return make


@pytest.mark.parametrize(
    ("loss", "method"),
    [("dpo", "lora"), ("dpo", "full"), ("dpo", "qlora"), ("kto", "lora"), ("orpo", "lora"), ("simpo", "freeze")],
)
def test_a_run_learns_which_answer_is_better(trained: Callable[..., Run], loss: str, method: str) -> None:
    run = trained(loss, method)
    evaluation = run.evaluation
    assert (run.status, evaluation["task"], evaluation["metric"]) == ("finished", "preference", "reward-accuracy")
    assert set(evaluation["models"]) == {"tuned", "length", "tf-idf", "base", "base-mean"}
    assert evaluation["models"]["tuned"]["reward-accuracy"]["value"] == 1.0, "lower and upper case: easy"
    margin = evaluation["diagnostics"]["reward_margin"]
    assert margin["low"] > 0
    steps = [row for row in run.folder.rows(run.folder.metrics) if "loss" in row]
    assert {"reward_accuracy", "reward_margin"} <= steps[-1].keys()
    rows = run.folder.rows(run.folder.predictions)
    assert {"text", "label", "prediction", "margin", "answer", "base_answer"} <= rows[0].keys()
    report = run.report.read_text(encoding="utf-8")
    assert "reward accuracy" in report
    assert run.predict(["what is red here, the door?"])[0].keys() == {"answer", "tokens", "stopped"}


@pytest.mark.parametrize(("loss", "first"), [("dpo", np.log(2)), ("kto", 0.5)])
def test_the_loss_begins_where_model_and_reference_are_the_same(
    trained: Callable[..., Run], loss: str, first: float
) -> None:
    run = trained(loss)
    steps = [row for row in run.folder.rows(run.folder.metrics) if "loss" in row]
    assert steps[0]["loss"] == pytest.approx(first, abs=1e-4)
    assert steps[0]["reward_margin"] == pytest.approx(0.0, abs=1e-4)


def test_single_answers_called_good_or_bad(pairs: list[dict[str, Any]], language_base: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": row["prompt"], "completion": row["chosen"] if good else row["rejected"], "label": bool(good)}
        for row, good in zip(pairs, [1, 0] * len(pairs), strict=False)
    ]
    data = write(tmp_path / "single.jsonl", rows)
    overrides = [*QUICK, f"model.base={language_base}", "method=lora", "data.near_duplicates=false"]
    run = train(data, overrides=overrides, output=tmp_path / "run")
    assert run.folder.manifest()["task"] == "preference"
    assert "loss: kto" in run.folder.recipe.read_text(encoding="utf-8")
    assert set(run.evaluation["models"]) == {"tuned", "majority", "tf-idf"}
    assert run.evaluation["models"]["tuned"]["reward-accuracy"]["value"] == 1.0
    with pytest.raises(RecipeError, match="dpo compares two answers"):
        train(data, overrides=[*overrides, "preference.loss=dpo"], output=tmp_path / "other")


class StopsAt(Silent):
    """Asks the run to pause in a step."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = RunFolder(folder), step

    def advance(self, done: int, total: int, figures: Any) -> None:
        if done == self.step and "loss" in figures:
            self.folder.ask("pause")


def test_going_on_after_a_stop_ends_the_same(
    trained: Callable[..., Run], pairs: list[dict[str, Any]], language_base: Path, tmp_path: Path
) -> None:
    data = write(tmp_path / "pairs.jsonl", pairs)
    overrides = [*QUICK, f"model.base={language_base}", "method=lora", "preference.loss=dpo"]
    watch = StopsAt(tmp_path / "run", 2)
    overrides.append("data.near_duplicates=false")
    paused = train(data, overrides=overrides, output=tmp_path / "run", progress=watch)
    assert paused.status == "paused"
    resumed = resume_run(RunFolder(tmp_path / "run"))
    weights = [run.folder.final / "adapter_model.safetensors" for run in (resumed, trained("dpo"))]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("preference.margin=2", "only the loss simpo reads it"),
        ("preference.desirable_weight=2", "only the loss kto reads it"),
        ("data.long_conversations=split", "drop or drop-first-turns"),
        ("evaluation.metric=accuracy", "judged by reward-accuracy"),
        ("data.balance=weights", "no classes to even out"),
    ],
)
def test_settings_that_mean_nothing_here_are_refused(
    pairs: list[dict[str, Any]], language_base: Path, tmp_path: Path, setting: str, said: str
) -> None:
    data = write(tmp_path / "pairs.jsonl", pairs)
    with pytest.raises(RecipeError, match=said):
        train(data, overrides=[f"model.base={language_base}", setting], output=tmp_path / "run")


def test_a_method_that_the_task_is_not_trained_with(toy: Path, sentence_base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        train(toy, overrides=[f"model.base={sentence_base}", "method=qlora"], output=tmp_path / "run")
    assert (caught.value.code, caught.value.where) == ("recipe/method-not-offered", "method")
    assert caught.value.message == "text-classification is not trained with qlora"
    assert caught.value.known == TextClassification.methods
    assert caught.value.hint == "write `method: lora`"


def test_conversations_are_no_preferences(chats: Path, language_base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataProblemError, match="pairs of answers") as caught:
        train(chats, overrides=[f"model.base={language_base}", "task=preference"], output=tmp_path / "run")
    assert caught.value.code == "data/no-preferences"


def test_a_recipe_is_written_and_both_answers_are_shown(
    pairs: list[dict[str, Any]], language_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "pairs.jsonl", pairs)
    assert main(["init", str(data), "--output", str(tmp_path / "recipe.yaml")]) == 0
    assert "loss: dpo" in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["check", str(data), "--show-mask", "1", "--base", str(language_base)]) in (0, 1)
    shown = capsys.readouterr().out
    assert "the stone is red" in shown
    assert "RED!! STONE!!" in shown


@pytest.mark.parametrize(("name", "metric"), [("chat", "exact-match"), ("preferences", "reward-accuracy")])
def test_the_examples_run_as_they_are_written(name: str, metric: str, language_base: Path, tmp_path: Path) -> None:
    """On the tiny base, which is not the one they name."""
    quick = [f"model.base={language_base}", "training.max_steps=2", "evaluation.max_prompts=8", "training.threads=1"]
    run = train(EXAMPLES / name / "recipe.yaml", overrides=quick, output=tmp_path / "run")
    assert (run.status, run.evaluation["metric"]) == ("finished", metric)
