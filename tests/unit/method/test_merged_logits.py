"""What a merged model says, word for word: its logits are those of base and adapter together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from burnish.method.lora import Lora, QLora
from burnish.model.find import find_base
from burnish.model.language import load_language_model
from burnish.model.options import ModelOptions
from burnish.model.quantized import NF4, is_packed

METHODS = {
    "lora": Lora(rank=4),
    "rslora": Lora(rank=4, rank_stabilized=True),
    "dora": Lora(rank=4, decomposed=True),
    "qlora": QLora(rank=4),
}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("name", METHODS)
def test_merged_is_unmerged(language_base: Path, name: str) -> None:
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    model = load_language_model(replace(base, quantization=NF4 if name == "qlora" else None))
    method = METHODS[name]
    method.attach(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in method.trainable(model).values():
            weight.add_(0.05 * torch.randn_like(weight))
    ids = torch.arange(2, 42)[None]
    model.eval()
    with torch.no_grad():
        before = model.core(input_ids=ids).logits
        method.merge(model)
        after = model.core(input_ids=ids).logits
        plain = load_language_model(base).eval().core(input_ids=ids).logits
    scale = float(before.abs().max())
    assert float((before - plain).abs().max()) > 0.01 * scale, "the updates change nothing: the test shows nothing"
    assert float((before - after).abs().max()) < 1e-5 * scale  # float32: W x + s B(A x) against (W + s B A) x
    assert not any(map(is_packed, model.parameters()))
    assert not any("lora" in key for key in model.state_dict())


def test_the_alternatives_are_what_peft_calls_them(language_base: Path) -> None:
    """Scaling by alpha / sqrt(rank), and a learned length for each output."""
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    for name, wanted in (("lora", 8.0), ("rslora", 16.0)):
        model = load_language_model(base)
        METHODS[name].attach(model)
        adapted = [part for part in model.modules() if hasattr(part, "lora_A")]
        scales = {value for part in adapted for value in part.scaling.values()}
        assert scales == {wanted}
    model = load_language_model(base)
    METHODS["dora"].attach(model)
    assert any("magnitude" in key for key in METHODS["dora"].trainable(model))
