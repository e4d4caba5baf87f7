"""Recommendations from rows of choices to the verdict, and to the next item."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.cli.main import main
from burnish.errors import DataProblemError, RecipeError
from burnish.lifecycle.init import write_recipe
from burnish.lifecycle.judge import evaluate_run
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import resume_run, train
from burnish.recipe.read import read_recipe
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = ("where", "my", "is", "late", "lost", "new")
ITEMS = [f"{word} {kind}" for kind in ("card", "refund", "cash") for word in WORDS]
METRICS = {"recall@10", "ndcg@10", "recall@1", "mrr@10"}


def write(path: Path, choices: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in choices), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def choices() -> list[dict[str, Any]]:
    """24 users who each go through things of one kind, in an order of their own."""
    random = np.random.default_rng(3)
    rows = []
    for user in range(24):
        kind = [item for item in ITEMS if item.endswith(("card", "refund", "cash")[user % 3])]
        for time, item in enumerate(random.permutation(kind)[:5].tolist()):
            rows.append({"user": f"u{user}", "item": ITEMS.index(item), "time": time, "title": item})
    return rows


@pytest.fixture(scope="module")
def trained(choices: list[dict[str, Any]], quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("choices")
    return train(write(folder / "rows.jsonl", choices), overrides=quick, output=folder / "run")


def test_from_rows_to_a_verdict(trained: Run) -> None:
    evaluation = trained.evaluation
    arms = {"tuned", "popularity", "successor", "tf-idf-cosine", "base"}
    assert (trained.status, evaluation["task"], evaluation["metric"]) == ("finished", "recommendation", "recall@10")
    assert set(evaluation["models"]) == arms
    assert all(set(values) == METRICS for values in evaluation["models"].values())
    assert evaluation["judged_by"] == {"kind": "search", "queries": 24, "documents": 18, "relevant_in_the_middle": 1.0}
    assert trained.verdict["answer"] in ("better", "same", "worse", "too little data")
    rows = trained.folder.rows(trained.folder.predictions)
    assert len(rows) == evaluation["n"] == 24
    assert all({row["wanted"], row["found"]}.isdisjoint(row["text"].split("; ")) for row in rows)
    assert all(set(row["arms"]) == arms - {"tuned"} for row in rows)


def test_it_learns_what_comes_next(trained: Run) -> None:
    models = trained.evaluation["models"]
    assert models["tuned"]["ndcg@10"]["value"] > models["base"]["ndcg@10"]["value"]
    assert models["tuned"]["ndcg@10"]["value"] > models["popularity"]["ndcg@10"]["value"]


def test_the_report_shows_the_searches(trained: Run) -> None:
    page = trained.report.read_text(encoding="utf-8")
    assert "Worst searches" in page
    assert "right after the last item" in page


def test_the_next_items(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (found, other) = trained.predict([{"items": ["my card", "late card"]}, "my refund"])
    assert len(found["items"]) == len(set(found["items"])) == 10
    assert set(found["items"]) <= set(ITEMS) - {"my card", "late card"}
    assert "my refund" not in other["items"]
    assert main(["predict", str(trained.path), "--text", "my refund", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"] == [{"text": "my refund", **other}]


@pytest.mark.parametrize("items", [[], "my card", ["my card", 3], [" "]])
def test_what_is_no_history(trained: Run, items: object) -> None:
    with pytest.raises(DataProblemError) as caught:
        trained.predict([{"items": items}])
    assert (caught.value.code, caught.value.where) == ("predict/bad-text", "item 1")


def test_the_vectors_of_the_catalogue_are_the_models(trained: Run) -> None:
    from burnish.serving.predict import Predictor
    from burnish.storage.tensors import load_tensors

    final = trained.folder.final
    items = json.loads((final / "catalogue.json").read_text(encoding="utf-8"))
    wanted = [row["embedding"] for row in Predictor(final, runs=trained.runs).predict(items)]
    np.testing.assert_allclose(load_tensors(final / "catalogue.safetensors")["items"].numpy(), wanted, atol=1e-5)


class StopsAt(Silent):
    """Asks the run to pause in a step."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = RunFolder(folder), step

    def advance(self, done: int, total: int, figures: Any) -> None:
        if done == self.step and "loss" in figures:
            self.folder.ask("pause")


def test_going_on_after_a_stop_ends_the_same(trained: Run, quick: tuple[str, ...], tmp_path: Path) -> None:
    data = trained.path.parent / "rows.jsonl"
    overrides = [*quick, "checkpoint.every_steps=2"]
    train(data, overrides=overrides, output=tmp_path / "run", progress=StopsAt(tmp_path / "run", 5))
    stopped = RunFolder(tmp_path / "run")
    assert stopped.manifest()["status"] == "paused"
    again = resume_run(stopped)
    assert again.evaluation["models"] == trained.evaluation["models"]


def test_judging_again_gives_the_same(trained: Run) -> None:
    models = trained.evaluation["models"]
    again = evaluate_run(trained.folder, data=None, runs=trained.runs, progress=Silent())
    assert again["models"] == models


def test_other_choices_of_known_users_are_judged(trained: Run, tmp_path: Path) -> None:
    """A next choice counts; one of a stranger, one again and one of an unknown thing do not."""
    row = {"user": "u0", "item": 1, "time": 99, "title": "late cash"}
    others = [{"user": "new"}, {"title": "never seen"}]
    path = write(tmp_path / "more.jsonl", [row, *({**row, **other} for other in others)])
    found = evaluate_run(trained.folder, data=str(path), runs=trained.runs, progress=Silent())
    assert found["n"] == 1


@pytest.mark.parametrize("field", ["data.test=rows.jsonl", "data.group_by=user", "data.balance=weights"])
def test_parts_are_not_chosen(trained: Run, quick: tuple[str, ...], tmp_path: Path, field: str) -> None:
    with pytest.raises(RecipeError) as caught:
        train(trained.path.parent / "rows.jsonl", overrides=[*quick, field], output=tmp_path / "run")
    assert caught.value.code == "recipe/invalid"
    assert any(detail.startswith(field.partition("=")[0]) for detail in caught.value.details)


def test_a_recipe_is_written(tmp_path: Path) -> None:
    output = tmp_path / "recipe.yaml"
    found = write_recipe(EXAMPLES / "recommendation" / "orders.csv", output)
    assert found["columns"] == {"user": "user_id", "item": "item_id", "time": "date", "title": "title"}
    assert "of each user the last choice tests" in output.read_text(encoding="utf-8")
    assert read_recipe(output).task == "recommendation"


def test_the_example_trains(sentence_base: Path, tmp_path: Path) -> None:
    overrides = [f"model.base={sentence_base}", "training.max_steps=2", "evaluation.resamples=100"]
    run = train(EXAMPLES / "recommendation" / "recipe.yaml", overrides=overrides, output=tmp_path / "run")
    assert run.status == "finished"
