"""Layers are known by the names that families give them."""

from __future__ import annotations

import pytest

from burnish.errors import RecipeError
from burnish.method.places import ATTENTION_OUT, FEED_FORWARD_OUT, KEYS_AND_VALUES, layers_at

LAYERS = {  # of one layer, by family: keys and values, what attention gives, what the feed-forward gives
    "llama": (["self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"], ["mlp.down_proj"]),
    "phi": (["self_attn.k_proj", "self_attn.v_proj"], ["self_attn.dense"], ["mlp.fc2"]),
    "phi3": (["self_attn.qkv_proj"], ["self_attn.o_proj"], ["mlp.down_proj"]),
    "falcon": (["self_attention.query_key_value"], ["self_attention.dense"], ["mlp.dense_4h_to_h"]),
    "gpt_neox": (["attention.query_key_value"], ["attention.dense"], ["mlp.dense_4h_to_h"]),
    "gpt2": (["attn.c_attn"], ["attn.c_proj"], ["mlp.c_proj"]),
    "bert": (["attention.self.key", "attention.self.value"], ["attention.output.dense"], ["output.dense"]),
    "distilbert": (["attention.k_lin", "attention.v_lin"], ["attention.out_lin"], ["ffn.lin2"]),
    "modernbert": (["attn.Wqkv"], ["attn.Wo"], ["mlp.Wo"]),
    "mpnet": (["attention.attn.k", "attention.attn.v"], ["attention.attn.o"], ["output.dense"]),
    "deberta": (["attention.self.key_proj", "attention.self.value_proj"], ["attention.output.dense"], ["output.dense"]),
    "albert": (["attention.key", "attention.value"], ["attention.dense"], ["ffn_output"]),
    "t5": (["SelfAttention.k", "EncDecAttention.v"], ["SelfAttention.o"], ["DenseReluDense.wo"]),
    "bart": (["self_attn.k_proj", "encoder_attn.v_proj"], ["self_attn.out_proj"], ["fc2"]),
}
OTHERS = [
    *("self_attn.q_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.fc1", "mlp.dense_h_to_4h", "mlp.c_fc", "mlp.Wi"),
    *("attention.self.query", "intermediate.dense", "attention.q_lin", "ffn.lin1", "attention.attn.q", "ffn"),
    *("SelfAttention.q", "DenseReluDense.wi", "down_proj.bottleneck.up", "output.dense.bottleneck.down"),
]


@pytest.mark.parametrize("family", LAYERS)
def test_each_place_has_the_layers_of_its_own(family: str) -> None:
    names = [f"encoder.layer.11.{name}" for name in [*OTHERS, *(name for at in LAYERS[family] for name in at)]]
    for place, expected in zip((KEYS_AND_VALUES, ATTENTION_OUT, FEED_FORWARD_OUT), LAYERS[family], strict=True):
        assert layers_at((place,), names, method="ia3") == [f"encoder.layer.11.{name}" for name in expected]


def test_a_base_with_other_names() -> None:
    with pytest.raises(RecipeError) as caught:
        layers_at((KEYS_AND_VALUES,), ["layers.0.mixer", "layers.1.mixer", "layers.0.out"], method="ia3")
    assert (caught.value.code, caught.value.where) == ("method/no-place", "method")
    assert caught.value.known == ("mixer", "out")
    assert "method: ia3" in caught.value.message
    assert "method: lora" in str(caught.value.hint)
