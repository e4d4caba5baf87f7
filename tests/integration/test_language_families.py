"""Causal families of transformers in tiny random shapes: the engine's promises, answers, and the way back to a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.engine.optimizer import build_optimizer
from burnish.engine.options import TrainingOptions
from burnish.engine.segments import own_attention
from burnish.errors import ModelError
from burnish.method.build import METHODS
from burnish.method.freeze import Freeze
from burnish.model.families import TESTED, WHOLE
from burnish.model.find import find_base
from burnish.model.generate import Sampling
from burnish.model.language import load_language_model
from burnish.model.load import load_tokenizer
from burnish.model.options import ModelOptions
from burnish.model.quantized import NF4, keep_exact, quantization_config
from burnish.model.template import find_template
from burnish.serving.answer import Answerer, Prompt
from burnish.serving.language_package import save_language_model
from burnish.task.chat import Chat
from burnish.task.mask import Masker
from burnish.testing import Subject, chat_subject_over
from burnish.testing.method import check_arrangements, check_merge, check_resume

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
FROZEN = ("Llama", "GPT-2", "Mixtral")  # freeze looks for the list of layers and for nothing else of a family


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


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by its old name
@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")  # peft counts a prompt's on its own
@pytest.mark.parametrize(
    ("name", "method"),
    [(name, method) for name in FAMILIES for method in Chat.methods if method != "freeze" or name in FROZEN],
)
def test_family(
    family: Callable[[str], Path], name: str, method: str, conversations: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Packed is separate, a killed training goes on, adapters merge, and plain transformers answers the same."""
    subject: Subject = chat_subject_over(str(family(name)), conversations[:24])
    if method == "qlora" and name.lower() in WHOLE:
        with pytest.raises(ModelError, match="not in four bits"):
            subject.build(NF4)
        return
    chosen = METHODS[method]()
    if method == "freeze":
        chosen = Freeze(layers=1)
    check_arrangements(subject, chosen, tmp_path / "arrangements")
    if method in ("lora", "qlora", "ia3"):
        check_merge(subject, chosen, tmp_path / "merge")
    check_resume(subject, chosen, tmp_path / "resume")
    training = subject.training(chosen, tmp_path / "training", max_steps=2)
    training.run()
    base = find_base(ModelOptions(base=str(family(name))), recipe_folder=Path(), runs=Path("absent"))
    base = replace(base, quantization=NF4 if method == "qlora" else None)
    template = find_template(base.folder, None)
    masker = Masker(template, load_tokenizer(base.folder))
    model: Any = training.model
    about: dict[str, Any] = {"base": base, "template": template, "ends": [1], "task": "chat", "method": method}
    save_language_model(tmp_path / "final", model, **about)
    prompts = [Prompt(row["messages"][:-1]) for row in conversations[:3]]
    model.eval()
    with own_attention(model):
        told = Answerer(model, masker, ends=[1], context=256).answer(prompts, Sampling(max_new_tokens=6))
    said = Answerer.of_run(tmp_path / "final", runs=Path("absent")).answer(prompts, Sampling(max_new_tokens=6))
    assert [answer.text for answer in said] == [answer.text for answer in told]
    assert plainly(tmp_path / "final", base.folder, method, masker, prompts) == [answer.text for answer in told]


@pytest.mark.parametrize("method", [name for name in Chat.methods if name != "qlora"])
@pytest.mark.parametrize("name", FAMILIES)
def test_rates_fall_from_layer_to_layer(family: Callable[[str], Path], name: str, method: str) -> None:
    """Whatever a family calls its layers, each learns at half the rate of the one above, and words at the lowest."""
    base = find_base(ModelOptions(base=str(family(name))), recipe_folder=Path(), runs=Path("absent"))
    model = load_language_model(base)
    chosen = Freeze(layers=1) if method == "freeze" else METHODS[method]()
    learned = chosen.trainable(chosen.attach(model))
    options = TrainingOptions(learning_rate=1.0, layer_decay=0.5)
    groups = build_optimizer(model, learned, options).param_groups
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    layers = max((part for part in model.encoder.modules() if isinstance(part, nn.ModuleList)), key=len)
    depth_of = {id(weight): index for index, layer in enumerate(layers) for weight in layer.parameters()}
    words = id(model.encoder.get_input_embeddings().weight)
    assert len(layers) == 2
    for weight in learned.values():
        if id(weight) in depth_of:
            assert rates[id(weight)] == (0.25, 0.5)[depth_of[id(weight)]]
        elif id(weight) == words:
            assert rates[words] == 0.125
        elif method == "prompt-tuning":
            assert rates[id(weight)] == 1.0, "nothing else learns"


def plainly(final: Path, base: Path, method: str, masker: Masker, prompts: list[Prompt]) -> list[str]:
    """The answers of transformers and peft alone, one prompt at a time."""
    opened: dict[str, Any] = {"quantization_config": quantization_config()} if method == "qlora" else {}
    whole = method in ("full", "freeze")
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(final if whole else base, **opened)
    if method == "adapter":
        put_behind(model, load_file(final / "bottleneck.safetensors"))
    elif not whole:
        if method == "qlora":
            keep_exact(model)  # bitsandbytes' packing for CPUs with bf16 fails on shapes as small as these
        model = peft.PeftModel.from_pretrained(model, final)
    answers = []
    for prompt in prompts:
        ids = torch.tensor([masker.prompt(prompt.messages, prompt.tools)])
        mask = torch.ones_like(ids)
        found = model.eval().generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False, eos_token_id=[1], pad_token_id=1
        )
        new = found[0, ids.shape[1] :].tolist()
        answers.append(masker.tokenizer.decode(new, skip_special_tokens=True).strip())
    return answers


def put_behind(model: nn.Module, learned: dict[str, Tensor]) -> None:
    """Bottlenecks by hand, as USE.md has them."""

    def behind(layer: str) -> Callable[..., Tensor]:
        down, up = f"{layer}.bottleneck.down", f"{layer}.bottleneck.up"

        def hook(_: nn.Module, inputs: Any, states: Tensor) -> Tensor:
            narrow = F.gelu(states @ learned[f"{down}.weight"].T + learned[f"{down}.bias"])
            return states + narrow @ learned[f"{up}.weight"].T + learned[f"{up}.bias"]

        return hook

    for layer in {name.split(".bottleneck.")[0] for name in learned}:
        model.get_submodule(layer).register_forward_hook(behind(layer))


def test_these_are_the_families_that_are_called_tested() -> None:
    types = {getattr(transformers, f"{prefix}Config").model_type for prefix, _ in FAMILIES.values()}
    assert types == set(TESTED)
