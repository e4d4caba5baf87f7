"""A language model from conversations to its verdict: every file, with plain transformers as the witness."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from burnish.cli.main import main
from burnish.errors import DataProblemError, ModelError, RecipeError
from burnish.lifecycle.compare import compare
from burnish.lifecycle.pairs import settle_pairs
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import resume_run, train
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

QUICK = ("training.epochs=2", "training.learning_rate=0.01", "evaluation.max_prompts=8", "training.threads=1")


@pytest.fixture(scope="module")
def trained(chats: Path, language_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """A finished run of each method."""
    made: dict[str, Run] = {}

    def make(method: str) -> Run:
        if method not in made:
            folder = tmp_path_factory.mktemp("runs") / method
            overrides = [*QUICK, f"model.base={language_base}", f"method={method}"]
            made[method] = train(chats, overrides=overrides, output=folder)
        return made[method]

    return make


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_ends_in_a_verdict_on_answers(trained: Callable[[str], Run], method: str) -> None:
    run = trained(method)
    evaluation = run.evaluation
    assert (run.status, evaluation["task"], evaluation["metric"]) == ("finished", "chat", "exact-match")
    assert set(evaluation["models"]) == {"tuned", "majority", "nearest-answer", "base", "base-few-shot"}
    assert evaluation["n"] == 8
    assert 0 <= evaluation["diagnostics"]["stopped_by_itself"] <= 1
    rows = run.folder.rows(run.folder.predictions)
    assert len(rows) == 8
    assert {"text", "label", "prediction", "stopped", "arms"} <= rows[0].keys()
    report = run.report.read_text(encoding="utf-8")
    for word in ("From the base to the tuned model", "Answers", "nearest-answer"):
        assert word in report
    assert "Confusion" not in report


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_loss_falls_and_answers_are_kept_on_the_way(trained: Callable[[str], Run], method: str) -> None:
    run = trained(method)
    losses = [row["validation"]["loss"] for row in run.folder.rows(run.folder.metrics) if "validation" in row]
    assert losses[-1] < 4.5, "ln 258 = 5.5 is what a model that knows nothing has"
    samples = run.folder.rows(run.folder.samples)
    assert sorted({row["step"] for row in samples}) == [0, 3, 6]
    assert {"prompt", "answer", "reference", "stopped"} <= samples[0].keys()


def test_the_base_under_an_adapter_is_asked_later_and_says_the_same(trained: Callable[[str], Run]) -> None:
    """Full fine-tuning asks it before the first step; LoRA at the first evaluation, with the adapter off."""
    runs = [trained(method) for method in ("full", "lora")]
    full, lora = ([row for row in run.folder.rows(run.folder.samples) if row["step"] == 0] for run in runs)
    assert full
    assert lora == full
    kinds = [run.evaluation["forgetting"]["kinds"] for run in runs]
    losses = [{kind: figures["base_loss"] for kind, figures in of_run.items()} for of_run in kinds]
    assert losses[0] == losses[1]


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # peft asks transformers by its old name
@pytest.mark.parametrize("method", ["full", "lora"])
def test_final_opens_in_plain_transformers_and_answers_the_same(
    trained: Callable[[str], Run], method: str, language_base: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = trained(method)
    final = run.folder.final
    if method == "lora":
        model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(language_base), final)
    else:
        model = AutoModelForCausalLM.from_pretrained(final)
        assert model.generation_config.eos_token_id == [1]
    tokenizer = AutoTokenizer.from_pretrained(final)
    messages = [{"role": "user", "content": "where is my card"}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        out = model.eval().generate(**inputs, max_new_tokens=10, do_sample=False, eos_token_id=[1], pad_token_id=1)
    theirs = tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    from burnish.model.generate import Sampling
    from burnish.serving.answer import Answerer, Prompt

    (ours,) = Answerer.of_run(final, runs=Path("absent")).answer([Prompt(messages)], Sampling(max_new_tokens=10))
    assert ours.text == theirs
    (said,) = run.predict(["where is my card"])
    assert said["answer"].startswith(theirs)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_script_beside_the_model_runs_as_it_is(
    trained: Callable[[str], Run], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("lora")
    monkeypatch.chdir(run.path)
    script = (run.folder.final / "USE.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    compiled = compile(script.replace("max_new_tokens=256", "max_new_tokens=4"), "USE.md", "exec")
    import types

    module = types.FunctionType(compiled, {"__builtins__": __builtins__})
    module()
    assert capsys.readouterr().out


def test_going_on_after_a_stop_ends_the_same(chats: Path, language_base: Path, tmp_path: Path) -> None:
    """Same checkpoints, same samples: a run cut into two has the bits of one that was not."""
    base = [*QUICK, f"model.base={language_base}", "method=full", "checkpoint.every_steps=2"]
    whole = train(chats, overrides=base, output=tmp_path / "whole")
    cut = train(chats, overrides=base, output=tmp_path / "cut")
    for step in (4, 6):
        for path in sorted((cut.folder.checkpoints / f"step-{step}").iterdir()):
            path.unlink()
        (cut.folder.checkpoints / f"step-{step}").rmdir()
    cut.folder.update_manifest(status="interrupted")
    resume_run(RunFolder(tmp_path / "cut"))
    assert cut.folder.rows(cut.folder.samples) == whole.folder.rows(whole.folder.samples)
    weights = [run.folder.final / "model.safetensors" for run in (whole, cut)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_plain_texts_are_judged_by_their_loss(language_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"the card {i} is lost on day {i}"}) + "\n" for i in range(60)))
    overrides = [*QUICK, f"model.base={language_base}", "method=full"]
    run = train(path, overrides=overrides, output=tmp_path / "run")
    assert run.evaluation["metric"] == "loss"
    assert set(run.evaluation["models"]) == {"tuned", "base"}
    assert run.verdict["answer"] in ("better", "too little data")
    assert run.verdict["difference"] > 0
    assert compare(run.path, f"{run.path}@base")["difference"]["difference"] == run.verdict["difference"]


def test_a_run_is_a_base_for_the_next_one(trained: Callable[[str], Run], chats: Path, tmp_path: Path) -> None:
    overrides = [*QUICK, f"model.base={trained('lora').path}", "method=lora", "training.max_steps=2"]
    run = train(chats, overrides=overrides, output=tmp_path / "run")
    assert run.status == "finished"
    assert not (run.folder.final / "adapter_config.json").exists(), "an adapter on an adapter is merged"


def test_chat_and_predict_commands(
    trained: Callable[[str], Run], chats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained("full").path)
    assert main(["chat", run, "--text", "where is my card", "--base", "--max-new-tokens", "5", "--json"]) == 0
    (turn,) = json.loads(capsys.readouterr().out)["turns"]
    assert turn.keys() == {"user", "tuned", "base"}
    assert main(["predict", run, "--text", "where is my card", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["predictions"]
    assert said["text"] == "where is my card"
    assert isinstance(said["answer"], str)
    newest = max(int(path.name.removeprefix("step-")) for path in trained("full").folder.checkpoints.glob("step-*"))
    found = compare(run, f"{run}@step-{newest}")
    assert (found["n"], found["left_out"]) == (8, 0)
    assert found["models"]["a"] == trained("full").evaluation["models"]["tuned"]
    assert main(["evaluate", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["opened"] == 2


def test_answers_are_judged_in_pairs_until_they_change(
    trained: Callable[[str], Run], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A judge that likes the longer answer, on the real answers of a real run."""

    class Judge(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][1]["content"]
            asked.append(message)
            a, b = (message.split(f"answer {name}]\n")[1].rsplit(f"\n[{message[1:17]} end of")[0] for name in "AB")
            choice = "tie" if len(a) == len(b) else "A" if len(a) > len(b) else "B"
            self.send_response(200)
            self.end_headers()
            content = json.dumps({"choice": choice})
            self.wfile.write(json.dumps({"choices": [{"message": {"content": content}}]}).encode())

        def log_message(self, *_: object) -> None: ...

    asked: list[str] = []
    run = shutil.copytree(trained("lora").path, tmp_path / "copy")
    rows = RunFolder(run).rows(run / "predictions.jsonl")
    assert all(row["conversation"][-1] == {"role": "user", "content": row["text"]} for row in rows)
    longer = [(len(row["prediction"]), len(row["arms"]["base"])) for row in rows]
    server = HTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        words = ["evaluate", str(run), "--judge", url, "--judge-model", "m", "--against", "base", "--json"]
        assert main(words) == 0
    finally:
        server.shutdown()
        server.server_close()
    (judged,) = json.loads(capsys.readouterr().out)["judges"]
    assert (judged["n"], judged["by_place"]) == (8, 0)
    assert (judged["wins"], judged["losses"]) == (sum(a > b for a, b in longer), sum(a < b for a, b in longer))
    assert len(asked) == 2 * sum(row["prediction"] != row["arms"]["base"] for row in rows)
    assert "Choices between two answers" in (run / "report.html").read_text(encoding="utf-8")
    changed = [{**row, "prediction": "another"} for row in rows]
    RunFolder(run).write_rows(run / "predictions.jsonl", changed)
    (comparison,) = settle_pairs(RunFolder(run))
    assert (comparison["prompts"], comparison["judges"]) == (8, [])


def test_the_mask_is_shown(chats: Path, language_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(chats), "--show-mask", "2", "--base", str(language_base)]) == 0
    out = capsys.readouterr().out
    assert "tokens are learned" in out
    assert "assistant:⟦ " in out
    assert "</s>⟧" in out


def test_what_cannot_be_trained_is_refused_before_any_work(
    chats: Path, sentence_base: Path, language_base: Path, make_language_base: Callable[..., Path], tmp_path: Path
) -> None:
    def refused(kind: type[Exception], *overrides: str) -> str:
        with pytest.raises(kind) as error:
            train(chats, overrides=list(overrides), output=tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
        return str(error.value)

    assert "reads texts and does not write any" in refused(ModelError, f"model.base={sentence_base}")
    bare = make_language_base(template=None)
    assert "chat_template: plain" in refused(ModelError, f"model.base={bare}")
    assert "method: lora" in refused(RecipeError, f"model.base={language_base}", "method=head")
    smoothed = refused(RecipeError, f"model.base={language_base}", "training.label_smoothing=0.2")
    assert "not smoothed" in smoothed
    balanced = refused(RecipeError, f"model.base={language_base}", "data.balance=oversample", "data.noisy_copies=1")
    assert "data.balance: conversations have no classes" in balanced
    assert "data.noisy_copies: conversations have no texts" in balanced
    endless = make_language_base(template="{% for m in messages %}{{ m.content }}{% endfor %}")
    message = refused(DataProblemError, f"model.base={endless}")
    assert "no token ends it" in message
    assert "as the template writes it" in message


def test_groups_stay_together_and_columns_are_kept(language_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "grouped.jsonl"
    rows = []
    for i in range(96):
        asked = {"role": "user", "content": f"{'abcdefgh'[i % 8] * 3} {i * 7919}"}
        rows.append({"messages": [asked, {"role": "assistant", "content": str(i)}], "who": f"u{i % 12}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [*QUICK, f"model.base={language_base}", "method=full", "training.max_steps=1", "data.group_by=who"]
    run = train(path, overrides=overrides, output=tmp_path / "run")
    tested = {row["line"] % 12 for row in run.folder.rows(run.folder.predictions)}
    assert len(tested) <= 3, "the test rows are those of two groups or so"
    assert run.folder.manifest()["data"]["splits"]["test"] % 8 == 0


def test_long_rows_are_counted_and_listed(chats: Path, language_base: Path, tmp_path: Path) -> None:
    overrides = [*QUICK, f"model.base={language_base}", "method=full", "model.max_length=70", "training.max_steps=1"]
    run = train(chats, overrides=overrides, output=tmp_path / "run")
    long = [row for row in run.folder.rows(run.folder.problems) if row["code"] == "chat/too-long"]
    assert long
    assert {"file", "line", "reason"} <= long[0].keys()
    assert "70 are read" in long[0]["reason"]
    lengths = run.folder.manifest()["lengths"]
    assert (lengths["read"], lengths["longer"]) == (70, len(long))
    assert sum(lengths["rows"]) + len(long) == 120 - sum(run.folder.manifest()["data"]["problems"].values())
    assert f"{len(long)} rows longer than 70 tokens left out" in run.report.read_text(encoding="utf-8")


def test_a_run_in_four_bits_is_a_base_of_whole_weights(
    trained: Callable[[str], Run], chats: Path, tmp_path: Path
) -> None:
    """Its adapter is merged with the weights it was trained beside; what follows is saved whole and plain."""
    first = trained("qlora")
    about = json.loads((first.folder.final / "model.json").read_text(encoding="utf-8"))
    assert about["base"]["quantization"] == "nf4"
    assert "BitsAndBytesConfig" in (first.folder.final / "USE.md").read_text(encoding="utf-8")
    following = train(
        chats,
        overrides=[*QUICK, f"model.base={first.path}", "method=lora", "training.max_steps=1"],
        output=tmp_path / "b",
    )
    config = json.loads((following.folder.final / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config
    assert (following.folder.final / "model.safetensors").is_file()
    assert following.predict(["where is the card?"])[0]["answer"] is not None
    with pytest.raises(RecipeError, match="starts from whole weights"):
        train(chats, overrides=[*QUICK, f"model.base={first.path}", "method=qlora"], output=tmp_path / "c")


@pytest.mark.parametrize(("method", "warned"), [("lora", True), ("full", False)])
def test_an_end_of_turn_that_cannot_be_learned_is_said(
    make_language_base: Callable[..., Path], chats: Path, tmp_path: Path, method: str, warned: bool
) -> None:
    base = make_language_base()
    weights = load_file(base / "model.safetensors")
    weights["lm_head.weight"][1] = weights["lm_head.weight"][200]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    told = Told()
    overrides = [*QUICK, f"model.base={base}", f"method={method}", "training.max_steps=1"]
    train(chats, overrides=overrides, output=tmp_path / "run", progress=told)
    assert any("</s>, which ends a turn, was never trained" in text for text in told.warnings) is warned


class Told(Silent):
    """Remembers what it is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)
