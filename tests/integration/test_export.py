"""Every form for every task that has it: written, opened in its own program, compared, kept only when it is equal."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import burnish
from burnish.cli.main import main
from burnish.errors import BurnishError, DiskFullError, ExportError, LicenseError, RunError, UsageError
from burnish.lifecycle.run import Run
from burnish.serving.table_package import use
from burnish.storage.durable import damage_of
from burnish.storage.run_folder import RunFolder

MakeBase = Callable[..., Path]
Trained = Callable[..., Run]
ToyRows = list[tuple[str, str]]
KINDS = {"thing": ("card", "cash"), "fault": ("late", "lost")}
CHAT = ("training.max_steps=6", "training.learning_rate=0.01", "evaluation.max_prompts=8", "training.threads=1")
FEW = ("training.epochs=1", "training.threads=1", "evaluation.resamples=200")


def rows_of(task: str, texts: list[str]) -> list[dict[str, Any]]:
    """The toy texts as rows of a task."""
    words = {word: kind for kind, found in KINDS.items() for word in found}
    if task == "token-classification":
        return [
            {"tokens": t.split(), "tags": [f"B-{words[w]}" if w in words else "O" for w in t.split()]} for t in texts
        ]
    if task == "question-answering":
        answers = [next((word for word in text.split() if word in words), "") for text in texts]
        return [{"question": "which", "context": t, "answer": a} for t, a in zip(texts, answers, strict=True)]
    if task == "multi-label-classification":
        return [{"text": t, "labels": [word for word in ("card", "late", "money") if word in t.split()]} for t in texts]
    if task == "text-regression":
        return [{"text": text, "score": 10.5 + 3 * ("card" in text)} for text in texts]
    if task == "embedding":
        return [{"anchor": a, "positive": b} for a, b in zip(texts[0::2], texts[1::2], strict=True)]
    if task == "seq2seq":
        return [{"source": text, "target": text.split()[0]} for text in texts]
    pairs = itertools.pairwise(texts)
    return [{"premise": a, "hypothesis": b, "label": "thing" if "card" in a + b else "no"} for a, b in pairs]


@pytest.fixture(scope="module")
def speaking_base(make_language_base: MakeBase) -> Path:
    """A causal model whose tokenizer joins some letters, as one of the real ones does."""
    folder = make_language_base(vocab_size=262)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"] = [["c", "a"], ["r", "d"], ["ca", "rd"], ["Ġ", "t"]]
    content["model"]["vocab"] |= {"ca": 258, "rd": 259, "card": 260, "Ġt": 261}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def trained(
    toy: Path,
    toy_rows: ToyRows,
    quick: tuple[str, ...],
    chats: Path,
    speaking_base: Path,
    seq2seq_base: Path,
    image_base: Path,
    image_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    """A finished run of each task and method."""
    made: dict[tuple[str, str], Run] = {}

    def make(task: str, method: str = "full") -> Run:
        if (task, method) in made:
            return made[task, method]
        folder = tmp_path_factory.mktemp("runs")
        source: Path = toy
        overrides = [*quick, *FEW, f"method={method}"]
        if task == "chat":
            source, overrides = chats, [*CHAT, f"model.base={speaking_base}", f"method={method}"]
        elif task == "text-classification":  # one that has learned something, for what spoils it to be seen
            overrides = [*quick, "evaluation.resamples=200", "training.learning_rate=1e-2", f"method={method}"]
        elif task == "image-classification":
            source, overrides = image_folder, [*FEW, f"model.base={image_base}", f"method={method}"]
        else:
            source = folder / "rows.jsonl"
            rows = rows_of(task, [text for text, _ in toy_rows[:80]])
            source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        if task == "seq2seq":
            overrides = [*FEW, f"model.base={seq2seq_base}", f"method={method}", "evaluation.max_prompts=8"]
        made[task, method] = burnish.train(source, overrides=overrides, output=folder / "run")
        return made[task, method]

    return make


def assert_proven(found: dict[str, Any], run: Run, kind: str) -> None:
    folder = Path(found["folder"])
    assert found["answer"] == "equal"
    assert found["agreement"]["largest_difference"] <= found["agreement"]["tolerance"]
    assert found["agreement"]["differing"] == []
    assert found["seconds_per_row"]["exported"] > 0
    stored = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    assert stored == found
    others = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("export.json", "files.json")]
    assert found["bytes"] == sum(path.stat().st_size for path in others)
    assert damage_of(folder, needed=["export.json", "NOTICE.md", "USE.md"]) is None
    assert run.folder.manifest()["exports"][kind]["answer"] == "equal"
    assert run.folder.rows(run.folder.events)[-1]["event"] == "exported"


ENCODERS = [
    ("text-classification", "lora"),
    ("text-pair-classification", "full"),
    ("token-classification", "full"),
    ("question-answering", "full"),
    ("embedding", "lora"),
]


@pytest.mark.parametrize(
    ("task", "method"), [*ENCODERS, ("multi-label-classification", "full"), ("text-regression", "ia3")]
)
def test_the_whole_encoder_opens_in_plain_transformers(trained: Trained, task: str, method: str) -> None:
    run = trained(task, method)
    found = burnish.export(run.path, to="merged")
    assert_proven(found, run, "merged")
    assert found["runtime"].startswith("transformers ")
    assert found["metric"]["before"] == pytest.approx(found["metric"]["after"], abs=1e-5)
    assert found["metric"]["gain"]["value"] == pytest.approx(0, abs=1e-5)
    folder = Path(found["folder"])
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "adapter_config.json").exists()


@pytest.fixture(scope="module")
def graph(trained: Trained) -> dict[str, Any]:
    """A text classifier as a graph; made once, because torch takes seconds to follow a model."""
    return burnish.export(trained("text-classification", "lora").path, to="onnx", rows=20)


def test_onnxruntime_gives_the_same_numbers(trained: Trained, graph: dict[str, Any]) -> None:
    assert_proven(graph, trained("text-classification", "lora"), "onnx")
    assert graph["runtime"].startswith("onnxruntime ")
    assert graph["agreement"]["rows"] == 20
    assert "session.run" in (Path(graph["folder"]) / "USE.md").read_text()


@pytest.mark.parametrize("task", ["token-classification", "embedding"])
def test_other_tasks_give_the_same_numbers_as_a_graph(trained: Trained, task: str, tmp_path: Path) -> None:
    run = trained(task, "lora" if task == "embedding" else "full")
    found = burnish.export(run.path, to="onnx", output=tmp_path / "graph", rows=8)
    assert found["answer"] == "equal"
    assert found["agreement"]["rows"] == min(8, found["of_rows"]) * (2 if task == "embedding" else 1)


def test_an_image_model_is_exported_in_both_forms(trained: Trained, tmp_path: Path) -> None:
    run = trained("image-classification")
    for kind in ("merged", "onnx"):
        found = burnish.export(run.path, to=kind, output=tmp_path / kind, rows=5)
        assert (found["answer"], found["agreement"]["equal_answers"]) == ("equal", 5)


def test_the_graph_takes_any_number_of_rows_of_any_length(graph: dict[str, Any]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(Path(graph["folder"]) / "model.onnx", providers=["CPUExecutionProvider"])
    for rows, length in ((1, 1), (1, 30), (7, 3)):
        inputs = {each.name: np.ones((rows, length), np.int64) for each in session.get_inputs()}
        assert session.run(None, inputs)[0].shape == (rows, 3)


def test_eight_bits_are_kept_while_the_metric_holds(
    trained: Trained, graph: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    from onnx import numpy_helper

    import burnish.serving.exports.onnx as written

    def copied_graph(folder: Path, source: Any, *, name: str) -> None:
        shutil.copytree(Path(graph["folder"]), folder, dirs_exist_ok=True)

    monkeypatch.setattr(written, "write_onnx", copied_graph)
    run = trained("text-classification", "lora")
    found = burnish.export(run.path, to="onnx", quantize="int8", output=tmp_path / "int8")
    assert found["answer"] == "within the interval"
    assert found["metric"]["after"]["value"] >= found["metric"]["before"]["low"]
    assert run.folder.manifest()["exports"]["onnx-int8"]["answer"] == "within the interval"
    quantize = written.quantize_int8

    def spoilt(folder: Path) -> None:
        """No scale, so that every label is as likely."""
        quantize(folder)
        model = onnx.load(folder / "model.onnx")
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.ndim:
                tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(values), tensor.name))
        onnx.save(model, folder / "model.onnx")

    monkeypatch.setattr(written, "quantize_int8", spoilt)
    with pytest.raises(ExportError) as caught:
        burnish.export(run.path, to="onnx", quantize="int8", output=tmp_path / "spoilt")
    error = caught.value
    assert (error.code, error.exit_code, error.where) == ("export/metric-fell", 1, "onnx-int8")
    assert "with weights in int8, and was" in error.message
    assert error.hint == "export it without --quantize"
    assert not (tmp_path / "spoilt").exists()


@pytest.mark.parametrize("kind", ["merged", "adapter", "vllm", "gguf"])
def test_a_language_model_writes_the_same_tokens(trained: Trained, kind: str, tmp_path: Path) -> None:
    run = trained("chat", "lora")
    found = burnish.export(run.path, to=kind, rows=6)
    assert_proven(found, run, kind)
    assert found["agreement"]["equal_answers"] + len(found["agreement"]["ties"]) == 6
    folder = Path(found["folder"])
    if kind == "adapter":
        about = json.loads((folder / "adapter_config.json").read_text())
        assert Path(about["base_model_name_or_path"]).is_dir(), "the base is named"
    if kind == "vllm":
        assert (folder / "chat_template.jinja").is_file()
        assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [1]
        assert "not run" in found["not_run"]


def test_eight_bits_of_a_language_model_are_judged_by_its_answers(trained: Trained, tmp_path: Path) -> None:
    run = trained("chat", "lora")
    found = burnish.export(run.path, to="gguf", quantize="q8_0", output=tmp_path / "q8", rows=6)
    assert found["answer"] == "within the interval"
    whole = burnish.export(run.path, to="gguf", output=tmp_path / "whole", rows=6)
    assert whole["tensors"]["f16"] > found["tensors"]["f16"]
    assert found["tensors"]["q8_0"] > 0


def test_an_encoder_with_a_decoder_writes_the_same_tokens(trained: Trained, tmp_path: Path) -> None:
    run = trained("seq2seq", "lora")
    for kind in ("merged", "adapter"):
        found = burnish.export(run.path, to=kind, output=tmp_path / kind, rows=6)
        assert (found["answer"], found["agreement"]["equal_answers"]) == ("equal", 6)
        assert found["metric"]["before"] == found["metric"]["after"]


def test_a_template_of_the_base_itself_is_not_translated_for_ollama(trained: Trained, tmp_path: Path) -> None:
    run = trained("chat", "lora")
    with pytest.raises(BurnishError) as caught:
        burnish.export(run.path, to="ollama", output=tmp_path / "ollama")
    assert caught.value.code == "export/no-template"
    assert caught.value.known == ("chatml", "plain")
    assert not (tmp_path / "ollama").exists()


def test_what_does_not_answer_alike_is_not_published(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import burnish.lifecycle.export_made as exports

    written = exports.write_merged

    def spoilt(folder: Path, source: Any, *, name: str) -> None:
        source.head["bias"] += 0.1
        written(folder, source, name=name)
        from safetensors.torch import save_file

        save_file(dict(source.head), folder / "head.safetensors")

    monkeypatch.setattr(exports, "write_merged", spoilt)
    run = trained("text-classification", "lora")
    assert main(["export", str(run.path), "--to", "merged", "--output", str(tmp_path / "spoilt")]) == 1
    said = capsys.readouterr().err
    assert "[export/not-equal]" in said
    assert "toy.csv:" in said, "the rows that differ are named"
    assert list(tmp_path.iterdir()) == []
    assert run.folder.rows(run.folder.events)[-1]["event"] == "export-failed"


def test_tokens_that_differ_from_the_trainings_are_a_difference(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import burnish.lifecycle.export_made as exports

    written = exports.write_vllm

    def spoilt(folder: Path, source: Any, *, name: str) -> None:
        written(folder, source, name=name)
        path = folder / "chat_template.jinja"
        path.write_text(path.read_text().replace("': '", "':  '"))

    monkeypatch.setattr(exports, "write_vllm", spoilt)
    with pytest.raises(ExportError) as caught:
        burnish.export(trained("chat", "lora").path, to="vllm", output=tmp_path / "spoilt", rows=3)
    assert "3 of 3 rows differ" in caught.value.message


def test_the_command_says_what_it_proved(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained("text-regression", "ia3")
    command = ["export", str(run.path), "--to", "adapter", "--output"]
    assert main([*command, str(tmp_path / "a"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["answer"], found["agreement"]["unit"]) == ("adapter", "equal", "logit")
    assert main([*command, str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("EQUAL  adapter, opened by peft")
    assert "largest difference" in said
    assert str(tmp_path / "b") in said


def refused(run: Run, **asked: Any) -> BurnishError:
    with pytest.raises(BurnishError) as caught:
        burnish.export(run.path, **{"to": "merged", **asked})
    return caught.value


def test_what_cannot_be_is_said_before_any_work(trained: Trained, tmp_path: Path) -> None:
    run = trained("text-regression", "ia3")
    error = refused(run, to="onyx")
    assert (error.code, error.hint) == ("export/unknown-form", 'did you mean "onnx"?')
    error = refused(run, to="gguf")
    assert (error.code, error.known) == ("export/no-such-form", ("merged", "adapter", "onnx"))
    error = refused(run, to="merged", quantize="int8")
    assert (error.code, error.where) == ("export/not-quantized", "--quantize")
    error = refused(run, to="onnx", quantize="int4")
    assert (error.code, error.known) == ("export/not-quantized", ("int8", "q8_0"))
    error = refused(run, rows=0)
    assert (error.code, error.where) == ("export/rows", "--rows")
    (tmp_path / "there").mkdir()
    error = refused(run, output=tmp_path / "there")
    assert (error.code, error.where) == ("export/exists", str(tmp_path / "there"))
    assert isinstance(error, UsageError)


def test_a_missing_package_is_named(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    error = refused(trained("text-regression", "ia3"), to="onnx")
    assert (error.code, error.hint) == ("export/not-installed", "pip install 'burnish[onnx]'")
    assert error.message == "onnx needs onnxruntime"


def copied(run: Run, folder: Path, **entries: Any) -> Run:
    """The same run with other entries in its manifest."""
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("exports"))
    RunFolder(folder).update_manifest(**entries)
    return burnish.load(folder)


def test_a_license_that_forbids_it_stops_it_with_its_clause(trained: Trained, tmp_path: Path) -> None:
    run = trained("text-regression", "ia3")
    noted = run.folder.manifest()["license"] | {"name": "cc-by-nd-4.0", "written_in": "README.md of the base"}
    bound = copied(run, tmp_path / "bound", license=noted)
    error = refused(bound)
    assert isinstance(error, LicenseError)
    assert (error.code, error.exit_code) == ("license/forbids-use", 1)
    assert "section 2(a)(1)(B)" in error.details[0]
    assert refused(bound, to="nothing").code == "export/unknown-form"
    assert burnish.export(bound.path, to="merged", use="research", rows=2)["answer"] == "equal", "for oneself it may"
    error = refused(run, use="commercial")
    assert (error.code, error.where) == ("license/unknown", "model.use")


def test_obligations_of_the_license_go_along(trained: Trained, tmp_path: Path) -> None:
    run = trained("text-regression", "ia3")
    noted = run.folder.manifest()["license"] | {
        "name": "apache-2.0",
        "title": "Apache License 2.0",
        "obligations": ["give a copy of the license along"],
    }
    found = burnish.export(copied(run, tmp_path / "run", license=noted).path, to="merged", rows=2)
    notice = (Path(found["folder"]) / "NOTICE.md").read_text()
    assert found["obligations"] == ["give a copy of the license along"]
    assert "comes under Apache License 2.0" in notice
    assert "- give a copy of the license along" in notice


def test_unfinished_runs_and_own_parts_are_refused(trained: Trained, tmp_path: Path) -> None:
    run = trained("text-regression", "ia3")
    error = refused(copied(run, tmp_path / "own", parts_of_the_caller={"loss": "mine:loss"}))
    assert (error.code, error.where) == ("run/own-parts", str(tmp_path / "own"))
    early = copied(run, tmp_path / "early")
    (early.path / "final").rename(early.path / "gone")
    assert isinstance(refused(early), RunError)
    assert refused(early).code == "run/not-finished"
    unjudged = copied(run, tmp_path / "unjudged")
    (unjudged.path / "evaluation.json").unlink()
    assert refused(unjudged).code == "run/not-judged"


def test_a_full_disk_leaves_nothing(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(DiskFullError) as caught:
        burnish.export(trained("text-regression", "ia3").path, to="merged", output=tmp_path / "full")
    assert caught.value.code == "storage/disk-too-small"
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_tries_its_exports_first_and_makes_them_behind_the_verdict(
    chats: Path, speaking_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*CHAT, f"model.base={speaking_base}", "method=lora", "export.to=[merged, gguf]", "export.rows=3"]
    run = burnish.train(chats, overrides=overrides, output=tmp_path / "run")
    assert {kind: made["answer"] for kind, made in run.folder.manifest()["exports"].items()} == {
        "merged": "equal",
        "gguf": "equal",
    }
    assert run.status == "finished"
    assert sorted(path.name for path in run.folder.exports.iterdir()) == ["gguf", "merged"]
    assert not list(run.path.glob(".tmp-*"))


def test_an_export_that_cannot_be_stops_the_training_before_its_first_step(
    chats: Path, toy: Path, quick: tuple[str, ...], language_base: Path, tmp_path: Path
) -> None:
    overrides = [*CHAT, f"model.base={language_base}", "method=lora"]
    with pytest.raises(BurnishError) as caught:
        burnish.train(chats, overrides=[*overrides, "export.to=[gguf]"], output=tmp_path / "early")
    assert caught.value.code == "export/unknown-tokenizer", "its tokenizer joins no letters"
    assert not (tmp_path / "early" / "metrics.jsonl").exists()
    with pytest.raises(BurnishError) as caught:
        burnish.train(toy, overrides=[*quick, "export.to=[adapter]"], output=tmp_path / "other")
    assert (caught.value.code, caught.value.where) == ("export/no-such-form", "export.to")
    with pytest.raises(BurnishError) as caught:
        burnish.train(toy, overrides=[*quick, "export.to=[gguf]"], output=tmp_path / "third")
    assert "gguf does not exist for a text-classification" in str(caught.value)


def test_an_export_that_fails_behind_the_verdict_does_not_lose_the_run(
    toy: Path, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import burnish.lifecycle.export_made as exports

    written, calls = exports.write_merged, []

    def fails_later(folder: Path, source: Any, *, name: str) -> None:
        calls.append(folder)
        if len(calls) > 1:
            raise DiskFullError("storage/disk-full", "no space left on the disk", where=str(folder))
        written(folder, source, name=name)

    monkeypatch.setattr(exports, "write_merged", fails_later)
    run = burnish.train(toy, overrides=[*quick, *FEW, "export.to=[merged]"], output=tmp_path / "run")
    assert run.status == "finished"
    assert run.folder.manifest()["exports"]["merged"]["error"]["code"] == "storage/disk-full"
    assert run.verdict["answer"]
    assert not (run.folder.exports / "merged").exists()


def test_the_snippet_of_the_guide(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "export.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    run = trained("text-regression", "ia3")
    exec(snippet.replace('"runs/tickets"', repr(str(run.path))).replace("tickets-merged", str(tmp_path / "merged")), {})
    assert capsys.readouterr().out.startswith("equal ")


def test_a_stored_version_is_exported_elsewhere_and_stays_as_it_is(trained: Trained, tmp_path: Path) -> None:
    version = copied(trained("text-regression", "ia3"), tmp_path / ("0a" * 32))
    before = {path: path.read_bytes() for path in version.path.rglob("*") if path.is_file()}
    error = refused(version)
    assert (error.code, error.hint) == ("run/is-a-version", "name a folder for the export: --output DIR")
    found = burnish.export(version.path, to="merged", output=tmp_path / "merged", rows=2)
    assert found["answer"] == "equal"
    assert {path: path.read_bytes() for path in version.path.rglob("*") if path.is_file()} == before


def test_a_table_is_exported_where_its_transformer_answers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["plan,usage,left"]
    for _ in range(120):
        plan, usage = random.choice(["basic", "pro"]), random.normal(10, 3)
        lines.append(f"{plan},{usage:.2f},{'yes' if (usage < 10) == (plan == 'basic') else 'no'}")
    (tmp_path / "churn.csv").write_text("\n".join(lines) + "\n")
    overrides = ["task=tabular", "training.threads=1", "training.max_steps=8", "evaluation.resamples=200"]
    run = burnish.train(tmp_path / "churn.csv", overrides=overrides, output=tmp_path / "run")
    use(run.folder.final, "trees")
    error = refused(run, to="onnx")
    assert (error.code, error.where) == ("export/trees", str(run.folder.final))
    use(run.folder.final, "transformer")
    found = burnish.export(run.path, to="onnx")
    assert_proven(found, run, "onnx")
    assert found["metric"]["before"]["value"] == pytest.approx(found["metric"]["after"]["value"], abs=1e-3)
