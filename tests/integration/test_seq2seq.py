"""An encoder with a decoder from sources and targets to its verdict: every file, plain transformers as the witness."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.cli.main import main
from burnish.errors import BurnishError, DataProblemError, ModelError, RecipeError
from burnish.lifecycle.compare import compare
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import resume_run, train
from burnish.storage.run_folder import RunFolder

QUICK = (
    "training.epochs=2",
    "training.learning_rate=0.01",
    "training.average_decay=0",
    "evaluation.max_prompts=8",
    "evaluation.resamples=200",
    "training.threads=1",
    "model.max_target_length=24",
)
TEXTS = ("corpus-chrf", "bleu", "rouge-l")
METHODS = ("full", "lora", "freeze")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, toy_rows: list[tuple[str, str]]) -> Path:
    """120 sources with the keyword they hold as target; every tenth has a second target."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [{"source": text, "target": label} for text, label in toy_rows[:120]]
    rows += [{"source": row["source"], "target": f"a {row['target']}"} for row in rows[::10]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(pairs: Path, seq2seq_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """A finished run of each method."""
    made: dict[str, Run] = {}

    def make(method: str) -> Run:
        if method not in made:
            folder = tmp_path_factory.mktemp("runs") / method
            made[method] = train(
                pairs, overrides=[*QUICK, f"model.base={seq2seq_base}", f"method={method}"], output=folder
            )
        return made[method]

    return make


@pytest.mark.parametrize("method", METHODS)
def test_a_run_ends_in_a_verdict_on_texts(trained: Callable[[str], Run], method: str) -> None:
    run = trained(method)
    evaluation = run.evaluation
    assert (run.status, evaluation["task"], evaluation["metric"]) == ("finished", "seq2seq", "corpus-chrf")
    assert set(evaluation["models"]) == {"tuned", "majority", "copy", "nearest-answer", "base"}
    assert set(evaluation["models"]["tuned"]) == {"corpus-chrf", "bleu", "rouge-l"}
    assert evaluation["n"] == 8
    rows = run.folder.rows(run.folder.predictions)
    assert {"text", "label", "references", "prediction", "stopped", "arms"} <= rows[0].keys()
    assert all(row["arms"]["copy"] == row["text"] for row in rows)
    report = run.report.read_text(encoding="utf-8")
    for word in ("From the base to the tuned model", "Answers", "corpus chrF", "copy"):
        assert word in report
    assert "Confusion" not in report
    compared = compare(run.path, f"{run.path}@base")
    assert compared["models"]["a"] == evaluation["models"]["tuned"]
    assert compared["models"]["b"] == evaluation["models"]["base"]
    assert [entry["metric"] for entry in evaluation["comparisons"]] == ["bleu", "rouge-l"]


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_falls_and_texts_are_kept_on_the_way(trained: Callable[[str], Run], method: str) -> None:
    run = trained(method)
    losses = [row["validation"]["loss"] for row in run.folder.rows(run.folder.metrics) if "validation" in row]
    assert losses[-1] < 4.5, "ln 258 = 5.5 is what a model that knows nothing has"
    samples = run.folder.rows(run.folder.samples)
    assert len({row["step"] for row in samples}) == 3
    assert {"prompt", "answer", "reference", "stopped"} <= samples[0].keys()


def test_rows_with_one_source_are_one_question(trained: Callable[[str], Run], pairs: Path) -> None:
    """They stay in one part of the data, and a text may be like any of their targets."""
    run = trained("full")
    tested = run.folder.rows(run.folder.predictions)
    assert len({row["text"] for row in tested}) == len(tested)
    targets: dict[str, set[str]] = {}
    for line in pairs.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        targets.setdefault(row["source"], set()).add(row["target"])
    assert all(set(row["references"]) == targets[row["text"]] for row in tested)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by its old name
@pytest.mark.parametrize("method", METHODS)
def test_final_opens_in_plain_transformers_and_writes_the_same(
    trained: Callable[[str], Run], method: str, seq2seq_base: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    run = trained(method)
    final = run.folder.final
    if method == "lora":
        model: Any = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(seq2seq_base), final)
    else:
        model = AutoModelForSeq2SeqLM.from_pretrained(final)
    tokenizer = AutoTokenizer.from_pretrained(final)
    sources = [row["text"] for row in run.folder.rows(run.folder.predictions)]
    said = run.predict(sources)
    for source, ours in zip(sources, said, strict=True):
        inputs = tokenizer([source], return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            out = model.eval().generate(**inputs, max_new_tokens=24, do_sample=False, num_beams=1)
        assert ours["answer"] == tokenizer.decode(out[0], skip_special_tokens=True).strip()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("method", METHODS)
def test_the_script_beside_the_model_runs_as_it_is(
    trained: Callable[[str], Run],
    method: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import types

    run = trained(method)
    monkeypatch.chdir(run.path)
    script = (run.folder.final / "USE.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    module = types.FunctionType(compile(script, "USE.md", "exec"), {"__builtins__": __builtins__})
    module()
    assert capsys.readouterr().out


def test_going_on_after_a_stop_ends_the_same(pairs: Path, seq2seq_base: Path, tmp_path: Path) -> None:
    """Same checkpoints, same samples: a run cut into two has the bits of one that was not."""
    base = [*QUICK, f"model.base={seq2seq_base}", "method=full", "checkpoint.every_steps=2", "checkpoint.keep=9"]
    whole = train(pairs, overrides=base, output=tmp_path / "whole")
    cut = train(pairs, overrides=base, output=tmp_path / "cut")
    for step in (4, 6):
        shutil.rmtree(cut.folder.checkpoints / f"step-{step}")
    assert sorted(path.name for path in cut.folder.checkpoints.iterdir()) == ["step-2", "step-3"]
    cut.folder.update_manifest(status="interrupted")
    resume_run(RunFolder(tmp_path / "cut"))
    assert cut.folder.rows(cut.folder.samples) == whole.folder.rows(whole.folder.samples)
    weights = [run.folder.final / "model.safetensors" for run in (whole, cut)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_learning_from_scratch(pairs: Path, make_seq2seq_base: Callable[..., Path], tmp_path: Path) -> None:
    """A folder without weights; what is drawn depends on the seed, and there is no base to compare with."""
    base = make_seq2seq_base(weights=False)
    overrides = [*QUICK, f"model.base={base}", "model.initialization=random", "training.max_steps=2"]
    runs = [train(pairs, overrides=overrides, seed=seed, output=tmp_path / name) for name, seed in (("a", 1), ("b", 1))]
    other = train(pairs, overrides=overrides, seed=2, output=tmp_path / "c")
    bytes_of = [(run.folder.final / "model.safetensors").read_bytes() for run in (*runs, other)]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]
    assert set(runs[0].evaluation["models"]) == {"tuned", "majority", "copy", "nearest-answer"}
    manifest = runs[0].folder.manifest()
    assert (manifest["method"], manifest["base"]["initialization"]) == ("full", "random")
    assert manifest["base"]["parameters"] == manifest["training"]["total_parameters"]
    assert runs[0].predict(["where is my card"])[0].keys() == {"answer", "tokens", "stopped"}


def test_a_run_is_a_base_for_the_next_one(trained: Callable[[str], Run], pairs: Path, tmp_path: Path) -> None:
    overrides = [*QUICK, f"model.base={trained('lora').path}", "method=lora", "training.max_steps=2"]
    run = train(pairs, overrides=overrides, output=tmp_path / "run")
    assert run.status == "finished"
    assert not (run.folder.final / "adapter_config.json").exists(), "an adapter on an adapter is merged"


def test_bart_goes_the_same_way(pairs: Path, make_seq2seq_base: Callable[..., Path], tmp_path: Path) -> None:
    overrides = [*QUICK, f"model.base={make_seq2seq_base(family='bart')}", "method=lora"]
    run = train(pairs, overrides=overrides, output=tmp_path / "run")
    assert run.status == "finished"
    losses = [row["validation"]["loss"] for row in run.folder.rows(run.folder.metrics) if "validation" in row]
    assert losses[-1] < losses[0]


def test_predict_and_evaluate_commands(
    trained: Callable[[str], Run], pairs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = str(trained("full").path)
    assert main(["predict", run, "--text", "where is my card", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["predictions"]
    assert said["text"] == "where is my card"
    for name, rows in (("both", [{"source": "the card", "target": "x"}]), ("alone", [{"source": "the card"}])):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows * 3))
        assert main(["predict", run, "--data", str(path), "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["predictions"]) == 3
    answered = compare(run, run, data=pairs)
    assert (answered["n"], answered["rows"]) == (17, []), "all new rows, not those that were judged alone"
    assert main(["evaluate", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["opened"] == 2
    assert main(["chat", run, "--text", "hi", "--json"]) == 2
    assert "run/not-chat" in capsys.readouterr().err


def test_long_rows_are_counted_and_listed(pairs: Path, seq2seq_base: Path, tmp_path: Path) -> None:
    overrides = [*QUICK, f"model.base={seq2seq_base}", "method=full", "training.max_steps=1"]
    run = train(pairs, overrides=[*overrides, "model.max_length=30"], output=tmp_path / "run")
    long = [row for row in run.folder.rows(run.folder.problems) if row["code"] == "seq2seq/too-long"]
    assert long
    assert "30 are read" in long[0]["reason"]
    assert run.folder.manifest()["lengths"]["longer"] == len(long)


def test_what_cannot_be_trained_is_refused_before_any_work(
    pairs: Path, chats: Path, seq2seq_base: Path, language_base: Path, trained: Callable[[str], Run], tmp_path: Path
) -> None:
    def refused(kind: type[BurnishError], data: Path, *overrides: str) -> BurnishError:
        with pytest.raises(kind) as error:
            train(data, overrides=list(overrides), output=tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
        return error.value

    ours = f"model.base={seq2seq_base}"
    chat = refused(ModelError, chats, ours)
    assert (chat.code, chat.where) == ("model/encoder-decoder", "model.base")
    assert "task: seq2seq" in str(chat.hint)
    assert refused(ModelError, pairs, f"model.base={language_base}").code == "model/no-decoder"
    assert refused(RecipeError, pairs, ours, "method=qlora").code == "recipe/method-not-offered"
    assert "learn all" in str(refused(RecipeError, pairs, ours, "method=lora", "model.initialization=random"))
    assert "its base has learned" in str(refused(RecipeError, chats, "model.initialization=random"))
    assert "no targets" in str(refused(RecipeError, chats, ours, "task=chat", "model.max_target_length=9"))
    assert "no classes" in str(refused(RecipeError, pairs, ours, "task=seq2seq", "data.balance=oversample"))
    assert refused(DataProblemError, chats, ours, "task=seq2seq").code == "data/rows-of-another-task"
    metric = refused(RecipeError, pairs, ours, "evaluation.metric=exact-match")
    assert (metric.code, metric.where, metric.known) == ("recipe/invalid", "evaluation.metric", TEXTS)
    assert metric.hint == "write corpus-chrf instead, or leave it out"
    goal = refused(RecipeError, pairs, ours, 'evaluation.goals=["accuracy >= 0.5"]')
    assert (goal.where, goal.message.split()[0]) == ("evaluation.goals", "accuracy")
    nothing = refused(DataProblemError, pairs, ours, "model.max_length=8")
    assert nothing.code == "seq2seq/nothing-learned"
    assert "8 are read" in nothing.message
    with pytest.raises(DataProblemError, match="item 2: the source has no tokens"):
        trained("full").predict(["a", " "])


def test_the_snippet_of_the_guide(trained: Callable[[str], Run], capsys: pytest.CaptureFixture[str]) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "seq2seq.md").read_text(encoding="utf-8")
    snippet = guide.split("```python\n")[1].split("```")[0]
    exec(snippet.replace('"RUN"', repr(str(trained("full").path))), {})
    assert capsys.readouterr().out


def test_init_writes_a_recipe_that_runs(pairs: Path, seq2seq_base: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    assert main(["init", str(pairs), "--output", str(recipe)]) == 0
    text = recipe.read_text(encoding="utf-8")
    assert "metric: corpus-chrf" in text
    recipe.write_text(text.replace("google-t5/t5-small", str(seq2seq_base)), encoding="utf-8")
    run = train(recipe, overrides=[*QUICK, "training.max_steps=1"], output=tmp_path / "run")
    assert run.status == "finished"
