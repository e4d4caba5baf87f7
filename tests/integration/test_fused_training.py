"""A LoRA training on a base in bf16, as it runs where the hardware multiplies bf16: exact, and the base untouched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from burnish.engine import lean, norms
from burnish.engine.fused_lora import fused_lora
from burnish.engine.precision import Precision
from burnish.engine.selftest import check_invariants
from burnish.method.lora import Lora
from burnish.storage.run_folder import RunFolder
from burnish.testing import chat_subject_over, subject
from burnish.testing.method import check_only_its_weights_move, check_resume

FP32, BF16 = Precision("fp32", "numbers are compared"), Precision("bf16", "as on such hardware")


@pytest.fixture(scope="module")
def bf16_base(language_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The language base with weights in bf16, as most are published."""
    folder = tmp_path_factory.mktemp("bf16") / "base"
    shutil.copytree(language_base, folder)
    weights = load_file(folder / "model.safetensors")
    rounded = {name: weight.bfloat16() for name, weight in weights.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_training_in_bf16_goes_on_to_the_bit(
    bf16_base: Path, conversations: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the frozen weights are held in bf16, and run again."""
    monkeypatch.setattr(subject, "FP32", BF16)
    check_resume(chat_subject_over(str(bf16_base), conversations[:24]), Lora(rank=4), tmp_path)


def test_the_base_has_its_bits_and_float32_after_a_training(
    bf16_base: Path, conversations: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "FP32", BF16)
    check_only_its_weights_move(chat_subject_over(str(bf16_base), conversations[:24]), Lora(rank=4), tmp_path)


def test_rows_do_not_see_each_other_where_layers_are_computed_together(
    language_base: Path, conversations: list[dict[str, Any]]
) -> None:
    """Order, neighbours and padding change neither loss nor gradient: the engine's own test, inside the block."""
    over = chat_subject_over(str(language_base), conversations[:24])
    model, layout = over.learner(Lora(rank=4))
    with fused_lora(model, FP32) as found:
        told = check_invariants(
            task=over.task,
            method=Lora(rank=4),
            model=model,
            rows=over.encoded(),
            layout=layout,
            device=torch.device("cpu"),
            max_tokens=100_000,
        )
    assert found.sentence == "14 LoRA layers are computed together"
    assert "one by one" in told


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "FP32", BF16)
    monkeypatch.setattr(lean, "DEVICES", ("cpu",))


def _losses(folder: Path) -> list[float]:
    return [line["loss"] for line in RunFolder(folder).rows(folder / "metrics.jsonl") if "loss" in line]


def test_states_in_bf16_learn_the_same(
    bf16_base: Path, conversations: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: frozen weights, states and norms in bf16. Afterwards the base has its bits and float32."""
    over, found = chat_subject_over(str(bf16_base), conversations[:24]), []
    monkeypatch.setattr(subject, "FP32", BF16)
    for name, devices in (("plain", ()), ("lean", ("cpu",))):
        monkeypatch.setattr(lean, "DEVICES", devices)
        training = over.training(Lora(rank=4), tmp_path / name)
        before = {key: value.clone() for key, value in training.model.state_dict().items() if "lora_" not in key}
        training.run()
        after = training.model.state_dict()
        assert all(torch.equal(value, after[key]) and after[key].dtype == value.dtype for key, value in before.items())
        found.append(_losses(tmp_path / name))
    assert found[1] == pytest.approx(found[0], rel=0.01)
    events = RunFolder(tmp_path / "lean").rows(tmp_path / "lean" / "events.jsonl")
    (what,) = [event["what"] for event in events if event["event"] == "lean"]
    assert "7 frozen weights" in what
    assert "5 norms" in what


def test_what_is_held_lean_goes_on_to_the_bit(
    bf16_base: Path, conversations: list[dict[str, Any]], tmp_path: Path, as_on_a_gpu: None
) -> None:
    check_resume(chat_subject_over(str(bf16_base), conversations[:24]), Lora(rank=4), tmp_path)


def test_a_loss_that_changes_leaves_everything_as_it_is(
    bf16_base: Path, conversations: list[dict[str, Any]], tmp_path: Path, as_on_a_gpu: None
) -> None:
    """Norms that scale by more than their weight, which the comparison of norms was made to miss."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norms, "_same", lambda *_: True)
        patch.setattr(norms._Norm, "apply", lambda states, *_: states * 40)
        training = chat_subject_over(str(bf16_base), conversations[:24]).training(Lora(rank=4), tmp_path)
        with training._fused():
            found = [part for part, _ in norms.norms_of(training.model)]
            assert found
            assert not any("forward" in vars(part) for part in found)
    events = RunFolder(tmp_path).rows(tmp_path / "events.jsonl")
    assert "stay as they are" in next(event["what"] for event in events if event["event"] == "lean")
