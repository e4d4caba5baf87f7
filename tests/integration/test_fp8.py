"""Frozen weights in 8 bits beside LoRA: torch multiplies them on a CPU too, slowly, and with the same numbers."""

from __future__ import annotations

import json
import shutil
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from burnish.engine import fp8, fused_lora
from burnish.engine.precision import Precision
from burnish.errors import BurnishError
from burnish.lifecycle.workbench import settled_machine
from burnish.method.lora import Lora
from burnish.recipe.schema import Recipe, contradictions
from burnish.storage.run_folder import RunFolder
from burnish.testing import chat_subject_over, subject
from burnish.testing.method import check_resume


@pytest.fixture
def over(language_base: Path, conversations: list[dict[str, Any]], tmp_path: Path, monkeypatch: Any) -> Any:
    """A subject whose trainings multiply in 8 bits where they are asked to, over a base in bf16."""
    folder = tmp_path / "base"
    shutil.copytree(language_base, folder)
    weights = {name: weight.bfloat16() for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(subject, "FP32", Precision("bf16", "as on such hardware"))
    return chat_subject_over(str(folder), conversations[:24])


def _trained(over: Any, folder: Path, **options: Any) -> tuple[list[float], str]:
    """Losses of the steps, and what was said of 8 bits."""
    over.training(Lora(rank=4), folder, **options).run()
    run = RunFolder(folder)
    said = [event["what"] for event in run.rows(folder / "events.jsonl") if event["event"] == "frozen-products"]
    return [line["loss"] for line in run.rows(folder / "metrics.jsonl") if "loss" in line], "".join(said)


def test_products_are_those_of_the_weight_within_three_bits_behind_the_point() -> None:
    random = torch.Generator().manual_seed(0)
    weight_OI = torch.randn(48, 32, generator=random).bfloat16() * torch.logspace(-3, 2, 48)[:, None].bfloat16()
    states_TI, gradient_TO = (torch.randn(7, size, generator=random).bfloat16() for size in (32, 48))
    eight = fp8.EightBits(weight_OI)
    for found, exact in (
        (eight.times(states_TI), states_TI.float() @ weight_OI.float().T),
        (eight.back(gradient_TO), gradient_TO.float() @ weight_OI.float()),
    ):
        assert found.dtype == torch.bfloat16
        assert float((found.float() - exact).norm()) <= 0.05 * float(exact.norm())
    rows = torch.tensor([[0.0, 0.0], [3e38, -1.0]])  # nothing to scale by, and the largest number there is
    assert torch.isfinite(fp8.scaled(rows)[0].float()).all()


def test_a_training_in_8_bits_learns_the_same(over: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_lora, "OF_LOSS", 0.02)  # of a model this small: sums of 32 numbers hide little rounding
    plain, _ = _trained(over, tmp_path / "plain")
    found, said = _trained(over, tmp_path / "eight", frozen_products="fp8")
    assert said.startswith("fp8: frozen weights of 14 layers in 8 bits")
    assert found == pytest.approx(plain, rel=0.02)
    assert found != plain


def test_it_goes_on_to_the_bit(over: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = type(over).training
    monkeypatch.setattr(type(over), "training", partialmethod(whole, frozen_products="fp8"))
    check_resume(over, Lora(rank=4), tmp_path)


def test_it_is_given_up_where_the_loss_changes(over: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = fp8.scaled

    def coarse(rows: Tensor) -> tuple[Tensor, Tensor]:
        rounded, scale = right(rows)
        return rounded, scale * 3

    monkeypatch.setattr(fp8, "scaled", coarse)
    found, said = _trained(over, tmp_path / "eight", frozen_products="fp8")
    assert said.startswith("fp8 is given up: loss ")
    assert found == _trained(over, tmp_path / "plain")[0]


def test_where_no_layer_can_be_in_8_bits_it_is_said(over: Any, tmp_path: Path) -> None:
    """Layers of DoRA are left to peft."""
    over.training(Lora(rank=4, decomposed=True), tmp_path, frozen_products="fp8").run()
    run = RunFolder(tmp_path)
    (said,) = [event["what"] for event in run.rows(tmp_path / "events.jsonl") if event["event"] == "frozen-products"]
    assert said.startswith("fp8 is given up: ")


def test_a_device_without_such_products_is_refused() -> None:
    recipe = Recipe.model_validate({"data": {"train": "x.csv"}, "training": {"frozen_products": "fp8"}})
    with pytest.raises(BurnishError, match="a CPU") as refused:
        settled_machine(recipe)
    assert refused.value.code == "recipe/no-fp8"
    assert refused.value.where == "training.frozen_products"


@pytest.mark.parametrize("settings", [{"method": "full"}, {"training": {"precision": "fp32"}}])
def test_what_it_does_not_go_with(settings: dict[str, Any]) -> None:
    tree: dict[str, Any] = {"task": "chat", "data": {"train": "x.jsonl"}, "method": "lora", **settings}
    tree["training"] = {"frozen_products": "fp8", **tree.get("training", {})}
    assert "training.frozen_products" in json.dumps(contradictions(Recipe.model_validate(tree)))
