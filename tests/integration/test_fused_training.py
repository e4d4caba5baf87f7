"""A LoRA training on a base in bf16, as it runs where the hardware multiplies bf16: exact, and the base untouched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from burnish.engine.fused_lora import fused_lora
from burnish.engine.precision import Precision
from burnish.engine.selftest import check_invariants
from burnish.method.lora import Lora
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
