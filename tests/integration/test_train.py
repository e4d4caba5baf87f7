"""A training from rows to verdict, with each method: every file is there, says what happened, and can be repeated."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from burnish.errors import RunError
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import train
from burnish.model.adapters import UNMERGED
from burnish.recipe.read import read_recipe

METHODS = ("full", "lora", "ia3", "adapter", "prompt-tuning", "freeze", "head")
BESIDE = {"adapter": "bottleneck", "ia3": "adapter_model", "prompt-tuning": "adapter_model"}  # files of what learned
FILES = (
    "recipe.yaml",
    "manifest.json",
    "events.jsonl",
    "metrics.jsonl",
    "problems.jsonl",
    "final/head.safetensors",
    "final/tokenizer.json",
    "final/USE.md",
    "evaluation.json",
    "predictions.jsonl",
    "report.html",
    "card.md",
)
ARMS = {"majority", "tf-idf", "base-centroid", "base-probe"}

Overrides = Callable[[str], list[str]]
Metrics = Callable[[Path], list[dict[str, Any]]]
Weights = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module", params=METHODS)
def run(
    request: pytest.FixtureRequest, toy: Path, overrides_of: Overrides, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A finished run with each method; shared, so nothing may change it."""
    return train(toy, output=tmp_path_factory.mktemp("run") / "first", overrides=overrides_of(request.param))


def method_of(run: Run) -> str:
    return str(run.folder.manifest()["method"])


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_run_folder_is_complete(run: Run) -> None:
    missing = [name for name in FILES if not (run.path / name).is_file()]
    assert not missing
    assert run.status == "finished"
    assert not [p.name for p in run.path.rglob(".tmp-*")]
    assert not [p.name for p in run.path.rglob("*") if p.suffix in (".bin", ".pt", ".pkl")]
    has_steps = method_of(run) != "head"
    assert has_steps == bool(list(run.path.glob("checkpoints/step-*/files.json")))
    events = [entry["event"] for entry in lines_of(run.folder.events)]
    assert events[-3:] == ["saved", "test-opened", "finished"]
    assert ("checkpoint" in events) == has_steps


def test_manifest_has_the_fingerprints(run: Run, toy: Path) -> None:
    manifest = run.folder.manifest()
    assert list(manifest["data"]["files"]) == [str(toy)]
    for value in (manifest["data"]["files"][str(toy)]["sha256"], manifest["data"]["split_fingerprint"]):
        assert re.fullmatch("[0-9a-f]{64}", value)
    assert re.fullmatch("[0-9a-f]{64}", manifest["base"]["sha256"])
    assert {"burnish", "python", "torch", "transformers", "threads", "precision"} <= set(manifest["environment"])
    assert manifest["data"]["splits"] == {"train": 126, "validation": 27, "test": 27}


def test_evaluation_has_the_promised_keys(run: Run) -> None:
    evaluation = run.evaluation
    assert (evaluation["task"], evaluation["split"], evaluation["n"]) == ("text-classification", "test", 27)
    assert set(evaluation["models"]) == {"tuned", *ARMS}
    for metrics in evaluation["models"].values():
        for name in ("accuracy", "macro-f1"):
            value = metrics[name]
            assert 0 <= value["low"] <= value["value"] <= value["high"] <= 1
            assert value["n"] == 27
    verdict = evaluation["verdict"]
    assert verdict["answer"] in ("better", "same", "worse", "too little data")
    assert {"metric", "against", "difference", "low", "high", "p_value", "advice"} <= set(verdict)
    assert verdict["against"] in ARMS


def test_predictions_are_those_of_the_test_rows(run: Run, toy: Path) -> None:
    rows = lines_of(run.folder.predictions)
    assert len(rows) == run.evaluation["n"]
    right = sum(row["prediction"] == row["label"] for row in rows) / len(rows)
    assert right == pytest.approx(run.evaluation["models"]["tuned"]["accuracy"]["value"])
    file_lines = toy.read_text(encoding="utf-8").splitlines()
    for row in rows:
        assert file_lines[row["line"] - 1] == f"{row['text']},{row['label']}"
        assert set(row["arms"]) == ARMS


def test_the_tuned_model_has_learned(run: Run) -> None:
    """The vectors of a random base hold nothing that a head alone could learn."""
    tuned, majority = (run.evaluation["models"][name]["accuracy"]["value"] for name in ("tuned", "majority"))
    gain = 0.1 if method_of(run) in BESIDE else 0.4  # few weights move a random base little
    assert tuned >= majority + gain or method_of(run) == "head"


def test_only_the_weights_of_the_method_move(run: Run, sentence_base: Path) -> None:
    final, base = run.folder.final, load_file(sentence_base / "model.safetensors")
    if method_of(run) == "lora":
        updates = {name: w for name, w in load_file(final / "adapter_model.safetensors").items() if "lora_B" in name}
        assert updates
        assert all(weight.abs().max() > 0 for weight in updates.values())
        assert not (final / "model.safetensors").exists()
        return
    if method_of(run) in BESIDE:
        learned = load_file(final / f"{BESIDE[method_of(run)]}.safetensors")
        start = 1.0 if method_of(run) == "ia3" else 0.0
        assert learned
        assert all((weight - start).abs().max() > 0 for weight in learned.values())
        assert not (final / "model.safetensors").exists()
        return
    tuned = load_file(final / "model.safetensors")
    read = [name for name in tuned if not name.startswith("pooler.")]
    moved = [name for name in read if not torch.equal(tuned[name], base[name])]
    last = [name for name in read if name.startswith("encoder.layer.")]  # two of two
    assert moved == {"head": [], "freeze": last, "full": read}[method_of(run)]


def test_resolved_recipe_gives_the_same_run(
    run: Run, tmp_path: Path, weights_of: Weights, metrics_of: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths of a resolved recipe hold from anywhere
    recipe = read_recipe(run.folder.recipe)
    assert (recipe.task, recipe.evaluation.metric) == ("text-classification", "accuracy")
    assert recipe.data.columns == {"text": "body", "label": "intent"}
    again = train(run.folder.recipe, output=tmp_path / "again")
    assert weights_of(again.path) == weights_of(run.path)
    assert metrics_of(again.path) == metrics_of(run.path)
    assert again.folder.recipe.read_bytes() == run.folder.recipe.read_bytes()
    assert again.evaluation["models"] == run.evaluation["models"]
    assert again.verdict == run.verdict
    assert again.folder.predictions.read_bytes() == run.folder.predictions.read_bytes()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft's affair
@pytest.mark.filterwarnings("ignore:Token type ids are not supported:UserWarning")  # all of them are the first type
def test_model_opens_without_burnish(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script of USE.md gives the label that burnish gives."""
    script = re.search("```python\n(.*)```", (run.folder.final / "USE.md").read_text(encoding="utf-8"), re.DOTALL)
    assert script
    text = "where is my card"
    monkeypatch.chdir(run.path)
    exec(script[1].replace("your text here", text), {})
    assert capsys.readouterr().out.strip().endswith(str([run.predict([text])[0]["label"]]))


def test_report_needs_nothing_from_elsewhere(run: Run) -> None:
    page = run.report.read_text(encoding="utf-8")
    assert run.verdict["answer"] in page.lower()
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?\s*(?!["']?(?:data:|#))[^\s"'>]+""", page)
    assert not re.findall(r"@import|url\((?!\s*[\"']?(?:data:|#))|<link|<iframe|<script[^>]+src|fetch\(|XMLHttp", page)


def test_card_tells_base_data_and_verdict(run: Run, sentence_base: Path) -> None:
    card = run.folder.card.read_text(encoding="utf-8").lower()
    for fact in (sentence_base.name, "toy.csv", run.verdict["answer"], "27"):
        assert fact in card


def test_a_second_training_never_writes_into_a_run(run: Run, toy: Path, overrides_of: Overrides) -> None:
    before = run.folder.manifest_file.read_bytes()
    with pytest.raises(RunError) as caught:
        train(toy, output=run.path, overrides=overrides_of("head"))
    assert caught.value.code == "run/exists"
    assert "--resume" in str(caught.value.hint)
    assert run.folder.manifest_file.read_bytes() == before


def test_a_training_never_writes_among_other_files(tmp_path: Path, toy: Path, overrides_of: Overrides) -> None:
    """`final/` and the like may be somebody's work."""
    mine = tmp_path / "final" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(RunError) as caught:
        train(toy, output=tmp_path, overrides=overrides_of("head"))
    assert (caught.value.code, caught.value.where) == ("run/not-empty", str(tmp_path))
    assert "--output" in str(caught.value.hint)
    assert mine.read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["final"]


def test_dropped_rows_are_listed_with_file_and_line(
    toy_rows: list[tuple[str, str]], write_csv: Callable[..., Path], overrides_of: Overrides, tmp_path: Path
) -> None:
    rows = [list(row) for row in toy_rows[:60]]
    rows.insert(7, ["   ", "card"])
    rows.append(rows[0])
    path = write_csv(rows)
    run = train(path, output=tmp_path / "run", overrides=overrides_of("head"))
    problems = {(p["code"], p["line"]): p for p in lines_of(run.folder.problems)}
    assert set(problems) == {("data/empty-text", 9), ("data/duplicate", 63)}
    for problem in problems.values():
        assert (problem["file"], problem["action"]) == (str(path), "dropped")
        assert problem["reason"]
    assert run.folder.manifest()["data"]["problems"] == {"data/empty-text": 1, "data/duplicate": 1}


def test_test_file_is_judged_on_and_learned_from_never(
    toy_rows: list[tuple[str, str]], write_csv: Callable[..., Path], overrides_of: Overrides, tmp_path: Path
) -> None:
    """A training row that is also in the test file is left out of training."""
    path, test = write_csv(toy_rows[:90]), write_csv(toy_rows[89:120])
    run = train(path, test=test, output=tmp_path / "run", overrides=overrides_of("head"))
    assert run.evaluation["n"] == 31
    assert {row["file"] for row in lines_of(run.folder.predictions)} == {str(test)}
    assert [(p["code"], p["line"]) for p in lines_of(run.folder.problems)] == [("data/leakage", 91)]
    assert run.folder.manifest()["data"]["splits"] == {"train": 80, "validation": 9, "test": 31}


def test_test_file_may_have_any_name(
    toy_rows: list[tuple[str, str]], write_csv: Callable[..., Path], overrides_of: Overrides, tmp_path: Path
) -> None:
    path = write_csv(toy_rows[:90])
    test = write_csv(toy_rows[90:]).rename(tmp_path / 'it\'s \\ "tést": #1 {x}.csv')
    run = train(path, test=test, output=tmp_path / "run", overrides=overrides_of("head"))
    assert {row["file"] for row in lines_of(run.folder.predictions)} == {str(test)}


def test_order_of_the_rows_does_not_change_the_split(
    run: Run, toy_rows: list[tuple[str, str]], write_csv: Callable[..., Path], overrides_of: Overrides, tmp_path: Path
) -> None:
    shuffled = write_csv([toy_rows[i] for i in torch.randperm(len(toy_rows)).tolist()])
    other = train(shuffled, output=tmp_path / "run", overrides=overrides_of("head"))
    assert other.folder.manifest()["data"]["split_fingerprint"] == run.folder.manifest()["data"]["split_fingerprint"]
    texts = [Counter(row["text"] for row in lines_of(r.folder.predictions)) for r in (run, other)]
    assert texts[0] == texts[1]


def test_another_seed_gives_another_split(run: Run, toy: Path, overrides_of: Overrides, tmp_path: Path) -> None:
    other = train(toy, output=tmp_path / "run", overrides=overrides_of("head"), seed=14)
    assert other.folder.manifest()["data"]["split_fingerprint"] != run.folder.manifest()["data"]["split_fingerprint"]
    assert read_recipe(other.folder.recipe).training.seed == 14


def test_tuned_model_is_a_base_for_the_next_run(run: Run, toy: Path, overrides_of: Overrides, tmp_path: Path) -> None:
    """Its vectors hold what those of the random base did not."""
    if method_of(run) in UNMERGED:
        pytest.skip("goes on with its own method only")
    following = train(toy, output=tmp_path / "run", overrides=[*overrides_of("head"), f"model.base={run.path}"])
    assert following.folder.manifest()["base"]["name"] == str(run.path)
    before, now = (r.evaluation["models"]["base-probe"]["accuracy"]["value"] for r in (run, following))
    assert now >= before + 0.3 or method_of(run) == "head"
