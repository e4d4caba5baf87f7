"""Causal families of transformers in tiny random shapes: the engine's promises, answers, and the way back to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from burnish.engine.layout import own_attention
from burnish.method.full import Full
from burnish.method.lora import Lora
from burnish.model.generate import Sampling
from burnish.model.load import find_base, load_tokenizer
from burnish.model.options import ModelOptions
from burnish.model.template import find_template
from burnish.serving.answer import Answerer, Prompt
from burnish.serving.language_package import save_language_model
from burnish.task.mask import Masker
from burnish.testing import Subject, chat_subject_over
from burnish.testing.method import check_arrangements, check_merge
from burnish.types import Method

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 258,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "initializer_range": 0.2,
}
SHARED_HEADS = {"num_key_value_heads": 2}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "vocab_size": 258} | {
    "bos_token_id": 0,
    "eos_token_id": 1,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("Llama", SMALL | SHARED_HEADS),
    "Mistral": ("Mistral", SMALL | SHARED_HEADS | {"sliding_window": 24}),
    "Mixtral": ("Mixtral", SMALL | SHARED_HEADS | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "Qwen2": ("Qwen2", SMALL | SHARED_HEADS),
    "Qwen3": ("Qwen3", SMALL | SHARED_HEADS | {"head_dim": 8}),
    "Gemma": ("Gemma", SMALL | {"num_key_value_heads": 1, "head_dim": 8}),
    "Gemma2": ("Gemma2", SMALL | SHARED_HEADS | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 24}),
    "Phi": ("Phi", SMALL),
    "Phi3": ("Phi3", SMALL | SHARED_HEADS),
    "OLMo": ("Olmo", SMALL | SHARED_HEADS),
    "OLMo2": ("Olmo2", SMALL | SHARED_HEADS),
    "Falcon": (
        "Falcon",
        {k: v for k, v in SMALL.items() if k != "intermediate_size"}
        | {"alibi": False, "new_decoder_architecture": False},
    ),
    "Granite": ("Granite", SMALL | SHARED_HEADS | {"logits_scaling": 2.0, "embedding_multiplier": 3.0}),
    "SmolLM3": ("SmolLM3", SMALL | SHARED_HEADS),
    "StableLM": ("StableLm", SMALL | SHARED_HEADS),
    "GPT-NeoX": ("GPTNeoX", SMALL),
    "Cohere": ("Cohere", SMALL | SHARED_HEADS | {"logit_scale": 0.5}),
    "GPT-2": ("GPT2", GPT2),
}
METHODS: dict[str, Callable[[], Method]] = {"full": Full, "lora": Lora}


@pytest.fixture(scope="module")
def family(make_language_base: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A random base of a family with the tokenizer and template of the language base."""
    tokens = make_language_base()
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            prefix, sizes = FAMILIES[name]
            folder = tmp_path_factory.mktemp(prefix)
            head = "GPT2LMHeadModel" if prefix == "GPT2" else f"{prefix}ForCausalLM"
            torch.manual_seed(0)
            getattr(transformers, head)(getattr(transformers, f"{prefix}Config")(**sizes)).save_pretrained(folder)
            for part in ("tokenizer.json", "tokenizer_config.json"):
                (folder / part).write_bytes((tokens / part).read_bytes())
            made[name] = folder
        return made[name]

    return make


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_family(
    family: Callable[[str], Path], name: str, method: str, conversations: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Packed is separate, micro-batches change nothing, adapters merge, and the file answers as the model did."""
    subject: Subject = chat_subject_over(str(family(name)), conversations[:24])
    check_arrangements(subject, METHODS[method](), tmp_path / "arrangements")
    if method == "lora":
        check_merge(subject, METHODS[method](), tmp_path / "merge")
    training = subject.training(METHODS[method](), tmp_path / "training", max_steps=2)
    training.run()
    base = find_base(ModelOptions(base=str(family(name))), recipe_folder=Path(), runs=Path("absent"))
    template = find_template(base.folder, None)
    masker = Masker(template, load_tokenizer(base.folder))
    model: Any = training.model
    save_language_model(tmp_path / "final", model, base=base, template=template, ends=[1], method=method)
    prompts = [Prompt(row["messages"][:-1]) for row in conversations[:3]]
    said = Answerer.of_run(tmp_path / "final", runs=Path("absent")).answer(prompts, Sampling(max_new_tokens=6))
    model.eval()
    with own_attention(model):
        told = Answerer(model, masker, ends=[1], context=256).answer(prompts, Sampling(max_new_tokens=6))
    assert [answer.text for answer in said] == [answer.text for answer in told]
