"""The tuned model as a folder: it comes back with the same logits, in burnish and without it, or not at all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.layout import LaidOut
from burnish.errors import DamagedStoreError, ModelError
from burnish.model.pooled import LinearHead, PooledClassifier
from burnish.serving.package import load_package
from burnish.serving.predict import Predictor
from burnish.storage.durable import damage_of, published_folder
from burnish.storage.tensors import load_tensors

Tune = Callable[..., PooledClassifier]
MakeRows = Callable[..., Any]
ABSENT = Path("absent")
STARTS, ENDS = ("where", "my", "late", "lost", "the"), ("cash", "refund", "money", "transfer")
TEXTS = [f"{start} {end} card?" + " my" * (len(start + end) % 5) for start in STARTS for end in ENDS]


def logits(model: nn.Module, make_rows: MakeRows) -> Tensor:
    rows = LaidOut(make_rows([5, 3, 9, 4]), range(4), padded=True, device=torch.device("cpu"))
    with torch.no_grad():
        return model(rows)


def refusal(final: Path, runs: Path = ABSENT, **given: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_package(final, runs=runs, **given)
    return caught.value


@pytest.mark.parametrize("method", ["full", "lora", "head", "ia3", "adapter", "prompt-tuning"])
def test_a_model_comes_back_with_the_same_logits(tuned: Tune, tmp_path: Path, make_rows: MakeRows, method: str) -> None:
    model = tuned(tmp_path / "final", method=method)
    package = load_package(tmp_path / "final", runs=ABSENT)
    # float32: the scale of 20 and the update of an adapter are multiplied in before or after the sums
    assert torch.allclose(logits(package.model, make_rows), logits(model, make_rows), atol=1e-3)
    assert not package.model.training
    assert package.description["labels"] == ["cancel", "refund", "upgrade"]
    assert package.description["method"] == method
    assert (package.base.pooling, package.base.normalize) == ("mean", True)


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("full", {"config.json", "model.safetensors"}),
        ("head", {"config.json", "model.safetensors"}),
        ("lora", {"adapter_config.json", "adapter_model.safetensors"}),
        ("ia3", {"adapter_config.json", "adapter_model.safetensors"}),
        ("prompt-tuning", {"adapter_config.json", "adapter_model.safetensors"}),
        ("adapter", {"bottleneck.safetensors"}),
    ],
)
def test_what_lies_in_the_folder(tuned: Tune, tmp_path: Path, method: str, weights: set[str]) -> None:
    final = tmp_path / "final"
    tuned(final, method=method)
    common = {"model.json", "head.safetensors", "tokenizer.json", "tokenizer_config.json", "USE.md", "files.json"}
    assert {path.name for path in final.iterdir()} == weights | common
    assert damage_of(final) is None
    assert set(json.loads((final / "files.json").read_text())) == (weights | common) - {"files.json"}
    assert {path.suffix for path in final.iterdir()} == {".json", ".safetensors", ".md"}


def test_a_vocabulary_in_any_form_comes_along(tuned: Tune, tmp_path: Path, make_base: Callable[..., Path]) -> None:
    base = make_base()
    names = ("vocab.txt", "merges.txt", "sentencepiece.bpe.model")
    for name in (*names, "pytorch_model.bin", "modeling.py"):
        (base / name).write_text(name)
    tuned(tmp_path / "final", folder=base)
    assert all((tmp_path / "final" / name).read_text() == name for name in names)
    assert not list((tmp_path / "final").glob("*.bin"))
    assert not list((tmp_path / "final").glob("*.py"))


def test_the_head_is_stored_plain(tuned: Tune, tmp_path: Path) -> None:
    """logits = pooled @ weight.T + bias, without a scale to know of."""
    model = tuned(tmp_path / "final")
    assert isinstance(model.head, LinearHead)
    stored = load_tensors(tmp_path / "final" / "head.safetensors")
    assert {name: tuple(t.shape) for name, t in stored.items()} == {"weight": (3, 16), "bias": (3,)}
    assert torch.equal(stored["weight"], model.head.linear.weight * model.head.scale)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "head.safetensors", "model.json", "tokenizer.json", "files.json"]
)
def test_one_flipped_bit_is_refused(tuned: Tune, tmp_path: Path, name: str) -> None:
    final = tmp_path / "final"
    tuned(final)
    data = bytearray((final / name).read_bytes())
    data[len(data) // 2] ^= 1
    (final / name).write_bytes(data)
    for opening in (lambda: load_package(final, runs=ABSENT), lambda: Predictor(final, runs=ABSENT)):
        with pytest.raises(DamagedStoreError) as caught:
            opening()
        assert (caught.value.code, caught.value.exit_code) == ("storage/damaged", 6)
        assert caught.value.where == str(final)
        assert name in caught.value.message or name == "files.json"  # whose own bits are other files' hashes


def test_an_adapter_on_another_base_is_refused(tuned: Tune, tmp_path: Path, make_base: Callable[..., Path]) -> None:
    base = make_base(pooling="mean", normalize=True)
    tuned(tmp_path / "final", method="lora", folder=base)
    shutil.copyfile(make_base(seed=9) / "model.safetensors", base / "model.safetensors")
    error = refusal(tmp_path / "final")
    assert error.code == "model/other-base"
    assert error.where == str(base)
    assert "put the original base back" in str(error.hint)


def test_an_adapter_whose_base_is_gone(tuned: Tune, tmp_path: Path, make_base: Callable[..., Path]) -> None:
    base = make_base(pooling="mean", normalize=True)
    tuned(tmp_path / "final", method="lora", folder=base)
    shutil.rmtree(base)
    error = refusal(tmp_path / "final")
    assert error.code == "model/unknown-base"
    assert str(base) in error.message


def test_a_full_model_needs_its_base_no_more(tuned: Tune, tmp_path: Path, make_base: Callable[..., Path]) -> None:
    base = make_base(pooling="first")
    tuned(tmp_path / "final", folder=base)
    shutil.rmtree(base)
    package = load_package(tmp_path / "final", runs=ABSENT)
    assert (package.base.pooling, package.base.normalize) == ("first", False)


@pytest.mark.parametrize(
    ("first", "second"), [("lora", "lora"), ("lora", "full"), ("ia3", "ia3"), ("ia3", "lora"), ("lora", "ia3")]
)
def test_a_tuned_model_is_tuned_again(
    tuned: Tune, tmp_path: Path, make_rows: MakeRows, first: str, second: str
) -> None:
    """An earlier run's adapter is below the new one, and is not lost."""
    runs = tmp_path / "runs"
    tuned(runs / "first" / "final", method=first)
    model = tuned(runs / "second" / "final", method=second, folder="first", runs=runs)
    package = load_package(runs / "second" / "final", runs=runs)
    # float32: see above
    assert torch.allclose(logits(package.model, make_rows), logits(model, make_rows), atol=1e-3)
    assert package.description["base"]["name"] == "first"
    shutil.rmtree(runs / "first")  # and it is whole without the run it came from
    again = load_package(runs / "second" / "final", runs=runs)
    assert torch.equal(logits(again.model, make_rows), logits(package.model, make_rows))


@pytest.mark.parametrize("method", ["adapter", "prompt-tuning"])
def test_what_cannot_be_merged_is_trained_further(
    tuned: Tune, tmp_path: Path, make_rows: MakeRows, sentence_base: Path, method: str
) -> None:
    """The second run holds all that both learned, and needs the plain base alone."""
    runs = tmp_path / "runs"
    before = tuned(runs / "first" / "final", method=method)
    model = tuned(runs / "second" / "final", method=method, folder="first", runs=runs)
    shutil.rmtree(runs / "first")
    package = load_package(runs / "second" / "final", runs=runs)
    # float32: the scale of 20 is multiplied in before or after the sums
    assert torch.allclose(logits(package.model, make_rows), logits(model, make_rows), atol=1e-3)
    assert not torch.allclose(logits(package.model, make_rows), logits(before, make_rows), atol=0.1)
    assert package.description["base"]["name"] == str(sentence_base)


class Wide(nn.Module):
    """A head of one's own."""

    def __init__(self, width: int, classes: int, hidden: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, pooled_BD: Tensor) -> Tensor:
        return self.layers(pooled_BD)


class Linear(LinearHead):
    """A head of one's own that is nearly ours."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, classes, scale=3.0)


@pytest.mark.parametrize("own", [Wide, Linear])
def test_ones_own_head_comes_back_when_it_is_given_again(
    tuned: Tune, tmp_path: Path, make_rows: MakeRows, own: Callable[[int, int], nn.Module]
) -> None:
    model = tuned(tmp_path / "final", head=own(16, 3))
    package = load_package(tmp_path / "final", runs=ABSENT, head=own)
    assert torch.equal(logits(package.model, make_rows), logits(model, make_rows))
    error = refusal(tmp_path / "final")
    assert error.code == "model/own-head"
    assert own.__qualname__ in error.message
    assert "burnish.load(run, head=YourHead)" in str(error.hint)


def test_another_head_than_the_stored_one(tuned: Tune, tmp_path: Path) -> None:
    tuned(tmp_path / "final", head=Wide(16, 3))
    error = refusal(tmp_path / "final", head=lambda width, classes: Wide(width, classes, hidden=9))
    assert error.code == "model/own-head"
    assert error.where == str(tmp_path / "final")


def test_an_attempt_to_save_that_dies_leaves_the_old_model(
    tuned: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "final"
    tuned(final)
    before = (final / "files.json").read_bytes()

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("burnish.serving.package.save_tensors", die)
    with pytest.raises(KeyboardInterrupt):
        tuned(final, method="head")
    assert (final / "files.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def script_of(final: Path, texts: list[str]) -> str:
    """The script of USE.md, reading these texts."""
    blocks = re.findall(r"```python\n(.*?)```", (final / "USE.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    assert blocks[0].count('["your text here"]') == 1
    return str(blocks[0]).replace('["your text here"]', json.dumps(texts)) + MARGINS


MARGINS = "top = logits.topk(2).values\nprint(json.dumps((top[:, 0] - top[:, 1]).tolist()))\n"
RUN_EACH = """
import os, runpy, sys
sys.modules["burnish"] = None
for folder in sys.argv[1:]:
    os.chdir(folder)
    runpy.run_path("use.py")
"""


def test_the_script_of_use_md_gives_the_same_labels(
    tuned: Tune, tmp_path: Path, make_base: Callable[..., Path]
) -> None:
    """Run as a reader would, beside the folder, with nothing of burnish to be found."""
    expected = []
    folders = []
    for method, pooling, seed in (
        *(("full", "mean", 3), ("lora", "first", 8), ("full", "last", 3)),
        *(("ia3", "mean", 1), ("adapter", "last", 1), ("prompt-tuning", "mean", 4), ("prompt-tuning", "first", 13)),
    ):
        final = tmp_path / f"{method}-{pooling}" / "final"
        folders.append(str(final.parent))
        base = make_base(pooling=pooling, normalize=method == "full")
        tuned(final, method=method, folder=base, seed=seed)  # seeds whose answers differ from text to text
        expected.append(Predictor(final, runs=ABSENT, precision="fp32").predict(TEXTS))
        (final.parent / "use.py").write_text(script_of(final, TEXTS), encoding="utf-8")
    command = [sys.executable, "-c", RUN_EACH, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    for rows, labels, margins in zip(expected, printed[::2], printed[1::2], strict=True):
        assert labels == str([row["label"] for row in rows])
        # float32: the scale of 20 and the update of an adapter are multiplied in before or after the sums
        assert json.loads(margins) == pytest.approx([row["margin"] for row in rows], abs=1e-3)
        assert len({row["label"] for row in rows}) > 1


def test_a_model_with_its_own_head_does_not_promise_a_script(tuned: Tune, tmp_path: Path) -> None:
    tuned(tmp_path / "final", head=Wide(16, 3))
    text = (tmp_path / "final" / "USE.md").read_text()
    assert "```" not in text
    assert "head.safetensors" in text


def test_a_folder_is_not_a_model_because_it_is_undamaged(tmp_path: Path) -> None:
    with published_folder(tmp_path / "final") as folder:
        (folder / "model.json").write_text(json.dumps({"base": {"name": "x", "folder": "x"}, "max_length": 8}))
    assert refusal(tmp_path / "final").code == "model/not-a-model"
