"""A model from elsewhere becomes a version, is trained on from, and stands in the lineage of what came out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.errors import BurnishError, ModelError, RunError, UsageError
from burnish.lifecycle.import_model import import_model
from burnish.lifecycle.promote import describe_version, keep_model
from burnish.lifecycle.run import Run
from burnish.lifecycle.runs import load
from burnish.lifecycle.train import train

MakeBase = Callable[..., Path]


@pytest.fixture
def foreign(make_base: MakeBase, tmp_path: Path) -> Path:
    """A model folder with what strangers leave beside weights."""
    folder = tmp_path / "their-model"
    shutil.copytree(make_base(pooling="mean", normalize=True, seed=3), folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Theirs\n")
    return folder


@pytest.fixture(scope="module")
def adapter(chats: Path, language_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter as peft saves it: without what burnish writes beside it."""
    folder = tmp_path_factory.mktemp("adapter")
    quick = ["training.epochs=1", "training.learning_rate=0.01", "evaluation.max_prompts=8", "training.threads=1"]
    run = train(chats, overrides=[*quick, f"model.base={language_base}", "method=lora"], output=folder / "run")
    shutil.copytree(run.folder.final, folder / "adapter")
    for name in ("model.json", "files.json", "USE.md"):
        (folder / "adapter" / name).unlink()
    return folder / "adapter"


def trained(data: Path, base: str, output: Path, *more: str) -> Run:
    quick = ["training.threads=1", "training.max_steps=2", "evaluation.resamples=200", *more]
    return train(data, overrides=[*quick, f"model.base={base}"], output=output)


def test_from_a_folder_to_a_tuned_version_with_its_parents(
    foreign: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(foreign), "--name", "theirs", "--task", "embedding", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    version = found["version"]
    assert (version["label"], version["task"], version["method"]) == ("theirs:1", "embedding", "imported")
    assert (found["kind"], found["license"]) == ("model", "mit")
    assert set(found["never_opened"]) == {"pytorch_model.bin", "modeling.py"}
    stored = describe_version("theirs:1")
    assert {"final/model.safetensors", "final/tokenizer.json", "manifest.json", "card.md"} <= stored["files"].keys()
    assert not {"final/pytorch_model.bin", "final/modeling.py"} & stored["files"].keys()
    assert [each["role"] for each in stored["lineage"]] == ["base"]
    run = trained(toy, "theirs:1", tmp_path / "run", "method=full")
    manifest = run.folder.manifest()
    assert manifest["base"]["license"] == "mit"
    assert (manifest["base"]["pooling"], manifest["base"]["normalize"]) == ("mean", True)
    assert manifest["parents"] == [{"name": "theirs:1", "version": version["id"]}]
    assert "trained on from `theirs:1`" in run.folder.card.read_text(encoding="utf-8")
    kept = keep_model(run.path, name="mine")
    assert version["id"] in {each["id"] for each in describe_version(kept.label)["lineage"]}
    again = trained(toy, "mine:1", tmp_path / "again", "method=full")  # and on from what came out
    assert again.folder.manifest()["parents"][0]["name"] == "mine:1"


def test_the_same_folder_is_the_same_version(foreign: Path) -> None:
    first, second = (import_model(foreign, name="twice")["version"] for _ in range(2))
    assert first["id"] == second["id"]
    assert import_model(foreign, name="other")["version"]["id"] != first["id"]


def test_an_adapter_keeps_the_base_it_lies_on(adapter: Path, chats: Path, tmp_path: Path) -> None:
    found = import_model(adapter, name="adapted", task="chat")
    assert (found["kind"], found["version"]["method"]) == ("adapter", "lora")
    quick = ("method=lora", "training.learning_rate=0.01", "evaluation.max_prompts=8")
    run = trained(chats, "adapted:1", tmp_path / "run", *quick)
    assert run.folder.manifest()["parents"][0]["name"] == "adapted:1"


def test_what_was_imported_is_not_asked(foreign: Path) -> None:
    import_model(foreign, name="asked")
    with pytest.raises(RunError) as caught:
        load("asked:1").predict(["a text"])
    assert caught.value.code == "run/imported"
    assert "model.base=asked:NUMBER" in str(caught.value.hint)


def refused(change: Callable[[Path], object], folder: Path, kind: type[BurnishError] = ModelError, **given: Any) -> str:
    change(folder)
    with pytest.raises(kind) as caught:
        import_model(folder, **given)
    return caught.value.code


def edit(path: Path, **entries: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **entries}), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder: edit(folder / "config.json", auto_map={"AutoModel": "modeling.Theirs"}), "model/remote-code"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model/no-safetensors"),
        (lambda folder: (folder / "link").symlink_to("/etc/hostname"), "model/path-escape"),
        (lambda folder: (folder / "config.json").unlink(), "model/not-a-model"),
    ],
)
def test_a_folder_is_inspected_before_anything_opens_it(
    foreign: Path, change: Callable[[Path], object], code: str
) -> None:
    assert refused(change, foreign) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder: edit(folder / "adapter_config.json", peft_type="LOHA"), "model/unknown-adapter"),
        (lambda folder: edit(folder / "adapter_config.json", base_model_name_or_path=None), "model/unknown-adapter"),
        (lambda folder: edit(folder / "adapter_config.json", megatron_core="theirs.code"), "model/remote-code"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "model/no-safetensors"),
    ],
)
def test_an_adapter_is_inspected_before_peft_opens_it(
    adapter: Path, tmp_path: Path, change: Callable[[Path], object], code: str
) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    assert refused(change, folder) == code


def test_a_run_is_kept_and_not_imported(foreign: Path) -> None:
    assert refused(lambda folder: (folder / "final").mkdir(), foreign, RunError) == "import/is-a-run"


def test_a_task_must_be_one(foreign: Path) -> None:
    assert refused(lambda _: None, foreign, UsageError, task="chatt") == "import/unknown-task"
