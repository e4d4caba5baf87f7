"""LoRA: low-rank updates that start at zero, where the recipe wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from burnish.engine.layout import LaidOut
from burnish.errors import RecipeError
from burnish.method.lora import Lora
from burnish.model.find import find_base
from burnish.model.language import load_language_model
from burnish.model.options import ModelOptions

Make = Callable[..., Any]
CPU = torch.device("cpu")
EVERY_LAYER = {"query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"}


def adapted_layers(model: nn.Module) -> set[str]:
    """Names of the layers with an update, without their layer number."""
    names = [name for name, _ in model.named_parameters() if "lora_A" in name]
    return {name.split(".lora_A")[0].split("layer.")[1].split(".", 1)[1] for name in names}


def test_the_start_is_the_base_bit_for_bit(make_classifier: Make, make_rows: Make) -> None:
    _, plain = make_classifier()
    _, model = make_classifier()
    model = Lora(rank=4).attach(model).eval()
    rows = LaidOut(make_rows([5, 3, 7]), range(3), padded=True, device=CPU)
    with torch.no_grad():
        assert torch.equal(rows.hidden(plain.eval().encoder), rows.hidden(model.encoder))
        assert torch.equal(plain(rows), model(rows))


def test_every_linear_layer_of_the_base_but_the_unread_one(make_classifier: Make) -> None:
    _, model = make_classifier()
    Lora(rank=2).attach(model)
    names = adapted_layers(model)
    assert {name.removeprefix("attention.self.") for name in names} == EVERY_LAYER
    assert not any("pooler" in name and "lora" in name for name, _ in model.named_parameters())


def test_both_stacks_of_an_encoder_with_a_decoder(seq2seq_base: Path) -> None:
    """Attention within each stack and from one to the other, and the feed-forward layers; not the head for words."""
    base = find_base(ModelOptions(base=str(seq2seq_base)), recipe_folder=Path(), runs=Path("absent"))
    model = load_language_model(base)
    Lora(rank=2).attach(model)
    places = {name.split(".lora_A")[0].split(".model.")[-1] for name, _ in model.named_parameters() if "lora_A" in name}
    attention = {f"{kind}.{matrix}" for kind in ("SelfAttention", "EncDecAttention") for matrix in "qkvo"}
    linear = {*attention, "DenseReluDense.wi", "DenseReluDense.wo"}
    assert {place.split(".layer.")[1].split(".", 1)[1] for place in places} == linear
    assert {place.split(".")[0] for place in places} == {"encoder", "decoder"}


def test_the_number_of_weights_that_learn(make_classifier: Make) -> None:
    """r * (in + out) per layer, and the whole head."""
    _, model = make_classifier()
    method = Lora(rank=2)
    model = method.attach(model)
    learn = sum(weight.numel() for weight in method.trainable(model).values())
    per_layer = 4 * 2 * (16 + 16) + 2 * (16 + 32) + 2 * (32 + 16)  # query, key, value, dense; up; down
    head = 16 * 2 + 2
    assert learn == 2 * per_layer + head
    assert learn / sum(p.numel() for p in model.parameters()) < 0.2


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("query",), {"attention.self.query"}),
        (("query", "value"), {"attention.self.query", "attention.self.value"}),
        (("intermediate.dense",), {"intermediate.dense"}),
        (("dense",), {"attention.output.dense", "intermediate.dense", "output.dense"}),
    ],
)
def test_named_layers_only(make_classifier: Make, targets: tuple[str, ...], expected: set[str]) -> None:
    _, model = make_classifier()
    Lora(rank=2, target_modules=targets).attach(model)
    assert adapted_layers(model) == expected


@pytest.mark.parametrize("targets", [("q_proj",), ("uery",), ("pooler.dense",)])
def test_names_the_base_does_not_have(make_classifier: Make, targets: tuple[str, ...]) -> None:
    _, model = make_classifier()
    with pytest.raises(RecipeError) as caught:
        Lora(target_modules=targets).attach(model)
    assert caught.value.code == "method/no-target"
    assert caught.value.where == "method.target_modules"
    assert targets[0] in caught.value.message
    assert caught.value.known == ("dense", "key", "query", "value")


def test_the_update_is_scaled_by_alpha_over_rank() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    model = Plain()
    before = model.layer.weight.detach().clone()
    method = Lora(rank=2, alpha=6.0)
    adapted: Any = method.attach(model)
    weights = dict(method.trainable(adapted))
    a = next(w for name, w in weights.items() if "lora_A" in name)
    b = next(w for name, w in weights.items() if "lora_B" in name)
    with torch.no_grad():
        b.fill_(0.5)
    expected = before + 3.0 * b.detach() @ a.detach()
    merged: Any = method.merge(adapted)
    assert torch.allclose(merged.layer.weight, expected, atol=1e-6)
