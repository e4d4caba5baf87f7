"""Runs of the methods that put something beside their base: gone on with, trained further, told apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import RecipeError
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import resume_run, train
from burnish.storage.run_folder import RunFolder

METHODS = ("ia3", "adapter", "prompt-tuning")
QUICK = ("training.epochs=2", "training.learning_rate=0.01", "evaluation.max_prompts=8", "training.threads=1")
Overrides = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def chatting(chats: Path, language_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """A finished run of the task chat with each method."""
    made: dict[str, Run] = {}

    def make(method: str) -> Run:
        if method not in made:
            overrides = [*QUICK, f"model.base={language_base}", f"method={method}", "checkpoint.every_steps=2"]
            made[method] = train(chats, overrides=overrides, output=tmp_path_factory.mktemp("runs") / method)
        return made[method]

    return make


@pytest.mark.parametrize("method", METHODS)
def test_a_language_model_learns_and_answers(chatting: Callable[[str], Run], method: str) -> None:
    run = chatting(method)
    assert (run.status, run.evaluation["task"]) == ("finished", "chat")
    losses = [row["validation"]["loss"] for row in run.folder.rows(run.folder.metrics) if "validation" in row]
    assert losses[-1] < losses[0]
    about = run.folder.manifest()["training"]
    assert about["trainable_parameters"] < about["total_parameters"]
    (said,) = run.predict(["where is my card"])
    assert said.keys() == {"answer", "tokens", "stopped"}
    assert "nearest-answer" in run.report.read_text(encoding="utf-8")


@pytest.mark.parametrize("method", METHODS)
def test_going_on_after_a_stop_ends_the_same(chatting: Callable[[str], Run], method: str, tmp_path: Path) -> None:
    """The last checkpoints are gone, as after a kill: the same weights and the same answers come again."""
    whole = chatting(method)
    shutil.copytree(whole.path, tmp_path / "cut")
    cut = RunFolder(tmp_path / "cut")
    for step in (4, 6):
        shutil.rmtree(cut.checkpoints / f"step-{step}", ignore_errors=True)
    cut.update_manifest(status="interrupted")
    resume_run(cut)
    assert cut.rows(cut.samples) == whole.folder.rows(whole.folder.samples)
    for path in whole.folder.final.glob("*.safetensors"):
        assert (cut.final / path.name).read_bytes() == path.read_bytes()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by its old name
@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")  # peft counts a prompt's on its own
@pytest.mark.parametrize("method", METHODS)
def test_the_script_beside_the_model_gives_its_answer(
    chatting: Callable[[str], Run], method: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = chatting(method)
    monkeypatch.chdir(run.path)
    script = (run.folder.final / "USE.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    script = script.replace("your question here", "where is my card").replace("max_new_tokens=256", "max_new_tokens=12")
    exec(script, {})
    (said,) = run.predict(["where is my card"])
    answer = capsys.readouterr().out.strip()
    assert answer
    assert said["answer"].startswith(answer)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_trained_further(
    chatting: Callable[[str], Run], chats: Path, language_base: Path, method: str, tmp_path: Path
) -> None:
    """With its own method; IA3's factors are merged, the others stay beside the plain base."""
    overrides = [*QUICK, f"model.base={chatting(method).path}", f"method={method}", "training.max_steps=2"]
    run = train(chats, overrides=overrides, output=tmp_path / "run")
    described: Any = run.folder.manifest()["base"]
    assert described["name"] == str(chatting(method).path)
    first, before = (
        [row["validation"]["loss"] for row in each.folder.rows(each.folder.metrics) if "validation" in row]
        for each in (run, chatting(method))
    )
    assert first[0] < before[0], "it starts where the earlier run ended"
    whole = (run.folder.final / "model.safetensors").exists()
    assert whole == (method == "ia3")
    assert run.predict(["where is my card"])


@pytest.mark.parametrize(("first", "second"), [("adapter", "lora"), ("prompt-tuning", "full"), ("ia3", "adapter")])
def test_a_run_is_not_trained_further_with(
    chatting: Callable[[str], Run], chats: Path, first: str, second: str, tmp_path: Path
) -> None:
    overrides = [*QUICK, f"model.base={chatting(first).path}", f"method={second}"]
    with pytest.raises(RecipeError) as caught:
        train(chats, overrides=overrides, output=tmp_path / "run")
    assert caught.value.code == "recipe/adapter-on-adapter"


@pytest.mark.parametrize("method", METHODS)
def test_a_classifier_is_trained_further(toy: Path, overrides_of: Overrides, method: str, tmp_path: Path) -> None:
    earlier = train(toy, output=tmp_path / "first", overrides=overrides_of(method))
    changes = [f"model.base={earlier.path}", "training.epochs=2", "training.learning_rate=1e-3"]
    run = train(toy, output=tmp_path / "second", overrides=[*overrides_of(method), *changes])
    probes = [each.evaluation["models"]["base-probe"]["accuracy"]["value"] for each in (earlier, run)]
    assert probes[1] > probes[0], "the vectors of what is now the base hold what the first run learned"
    shutil.rmtree(earlier.path)
    assert run.predict(["where is my card"])[0]["label"]
