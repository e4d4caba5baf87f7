"""llama.cpp computes what transformers does: each family with weights by chance, and a real one, token by token."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import burnish
from burnish.serving.exports.gguf import FILE, WHOLE, write_gguf
from burnish.serving.exports.llama_cpp import LlamaCpp
from burnish.serving.exports.proof import ROUNDING_F16, ROUNDING_F32
from burnish.serving.exports.source import Source

STORIES = Path(__file__).parents[2].parent / "shared" / "models" / "stories260k"
SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": True}),
    "llama with biases": ("Llama", {"attention_bias": True}),
    "llama 3.1": ("Llama", {"rope_parameters": LLAMA3}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
}


@pytest.fixture(scope="module")
def joining(make_language_base: Callable[..., Path]) -> Path:
    """A folder with a template and a tokenizer that joins two letters."""
    folder = make_language_base()
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"] = [["c", "a"]]
    content["model"]["vocab"]["ca"] = 258
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_computed_alike(family: str, joining: Path, tmp_path: Path) -> None:
    import transformers

    name, changes = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        **{**SHAPE, "vocab_size": 260, "intermediate_size": 96, "max_position_embeddings": 128, **changes},
        initializer_range=0.2,
    )
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    for part in model.modules():
        if getattr(part, "bias", None) is not None:
            torch.nn.init.normal_(part.bias, std=0.2)
    source = Source(joining, {"task": "chat", "template": "base", "ends": [1]}, model, None, None)
    write_gguf(tmp_path, source, name="gguf", quantize=WHOLE)
    llama = LlamaCpp(tmp_path / FILE, context=128, threads=1)
    prompt = llama.prompt([{"role": "user", "content": "where is my card?"}], None)
    assert prompt[0] == 0, "the template begins with its first token, once"
    answer = llama.answer(prompt, most=24, ends=[1])
    with torch.no_grad():
        logs_SV = torch.log_softmax(model(torch.tensor([[*prompt, *answer.token_ids]])).logits[0], dim=-1)
    logs = [float(logs_SV[len(prompt) - 1 + place, token]) for place, token in enumerate(answer.token_ids)]
    pairs = [(own, other) for own, other in zip(logs, answer.log_probabilities, strict=True) if other is not None]
    assert len(pairs) > 5
    assert [own for own, _ in pairs] == pytest.approx([other for _, other in pairs], abs=ROUNDING_F32)


@pytest.mark.real_data
def test_a_real_model_tells_the_same_stories(tmp_path: Path) -> None:
    """260 thousand weights that learned to tell stories; pieces with scores, four heads of keys for eight."""
    if not STORIES.is_dir():
        pytest.skip(f"the model is not at {STORIES}")
    begun = (
        "Once upon a time, there was a little",
        "Tom and Lily went to the",
        "The big dog saw a",
        "One day, Mom said",
    )
    rows = [{"text": f"{begin} {word}"} for begin in begun for word in ("red ball and", "boat. It", "girl", "cat")]
    (tmp_path / "stories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    overrides = [f"model.base={STORIES}", "model.chat_template=plain", "method=lora", "training.max_steps=2"]
    run = burnish.train(tmp_path / "stories.jsonl", overrides=overrides, output=tmp_path / "run")
    found = burnish.export(run.path, to="gguf")
    agreed = found["agreement"]
    assert found["answer"] == "equal"
    assert found["metric"] is None, "a text has no right answer"
    assert agreed["equal_answers"] + len(agreed["ties"]) == agreed["rows"]
    assert agreed["largest_difference"] < ROUNDING_F16
    with pytest.raises(burnish.BurnishError) as caught:
        burnish.export(run.path, to="gguf", quantize="q8_0", output=tmp_path / "q8")
    assert (caught.value.code, caught.value.where) == ("export/no-metric", "--quantize")


def test_rounding_is_told_apart_from_a_wrong_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not as close as float16 allows is written with whole weights too, which answer token by token."""
    if not STORIES.is_dir():
        pytest.skip(f"the model is not at {STORIES}")
    texts = [f"Once upon a time, there was a {word}, number {n}" for n in range(4) for word in ("ball", "cat", "dog")]
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "stories.jsonl").write_text("".join(lines), encoding="utf-8")
    changes = ("method=full", "training.max_steps=1", "data.near_duplicates=false")
    overrides = [f"model.base={STORIES}", "model.chat_template=plain", *changes]
    run = burnish.train(tmp_path / "stories.jsonl", overrides=overrides, output=tmp_path / "run")
    monkeypatch.setattr("burnish.lifecycle.export_made.ROUNDING_F16", 1e-9)
    found = burnish.export(run.path, to="gguf")
    whole = found["agreement_of_whole_weights"]
    assert found["answer"] == "rounded"
    assert found["agreement"]["differing"]
    assert (whole["equal_answers"], whole["differing"]) == (whole["rows"], [])
    assert whole["largest_difference"] < ROUNDING_F32
    assert not list(Path(found["folder"]).glob(".tmp-*"))
