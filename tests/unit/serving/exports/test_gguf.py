"""What of a family llama.cpp computes alike, and how its matrices are turned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from burnish.errors import ModelError
from burnish.serving.exports.gguf import neighbouring, require_family, rope_factors


def config(**changes: Any) -> SimpleNamespace:
    known: dict[str, Any] = {"model_type": "llama", "hidden_act": "silu", "max_position_embeddings": 128}
    return SimpleNamespace(**known | {"hidden_size": 16, "num_attention_heads": 2} | changes)


def test_rows_that_are_turned_together_lie_next_to_each_other() -> None:
    values = np.arange(16).reshape(8, 2)
    assert neighbouring(values, heads=2)[:, 0].tolist() == [0, 4, 2, 6, 8, 12, 10, 14]


@pytest.mark.parametrize(("family", "name"), [("llama", "llama"), ("mistral", "llama"), ("qwen3", "qwen3")])
def test_families_by_their_names_there(family: str, name: str) -> None:
    assert require_family(config(model_type=family)) == name


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "gemma2"}, "a gemma2 is not one of the families"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "stretched by yarn"),
        ({"model_type": "qwen2", "rope_parameters": {"rope_type": "llama3"}}, "known of llama only"),
        ({"model_type": "mistral", "sliding_window": 64}, "see only 64 tokens"),
        ({"hidden_act": "gelu"}, "its layers use gelu"),
    ],
)
def test_what_was_not_proven_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        require_family(config(**changes))
    error = caught.value
    assert error.code == "export/unknown-family"
    assert reason in error.message
    assert error.known == ("llama", "mistral", "qwen2", "qwen3")


def test_a_window_as_wide_as_the_context_hides_nothing() -> None:
    assert require_family(config(model_type="mistral", sliding_window=128)) == "llama"


def test_stretched_positions_are_those_of_transformers() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    shape = LlamaConfig(hidden_size=64, num_attention_heads=2, max_position_embeddings=512, rope_parameters=rope)
    found = rope_factors(shape)
    assert found is not None
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](shape, "cpu")
    plain = 1.0 / 500_000.0 ** (np.arange(0, 32, 2) / 32)
    np.testing.assert_allclose(plain / found, frequencies.numpy(), rtol=1e-5)
    assert rope_factors(config()) is None
