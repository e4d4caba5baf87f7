"""Decoding by the parts of a model: token for token what transformers writes, or not at all."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from burnish.engine.precision import Precision
from burnish.model import decoder_parts, products
from burnish.model.decoder_parts import FAMILIES
from burnish.model.find import find_base
from burnish.model.generate import Sampling, generate
from burnish.model.language import LanguageModel, load_language_model
from burnish.model.load import load_tokenizer
from burnish.model.options import ModelOptions
from burnish.model.products import TOLERANCE, Packed, can_pack
from burnish.serving import forward, opening
from burnish.serving.answer import Answerer
from burnish.serving.beside import AdapterBank
from burnish.serving.decoding import Asked, Decoder, Written
from burnish.serving.forward import ByModules, ByParts
from burnish.serving.lanes import Together, bytes_of
from burnish.serving.opening import open_by_parts
from burnish.serving.slots import Pass, Piece, SlotCache
from burnish.serving.waiting import Ticket
from burnish.serving.writing import decoder_beside, write

pytestmark = [
    pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # peft asks by its old name
]
EXACT, LOWER = Precision("fp32", "tests"), Precision("bf16", "tests")
END = 1
RANDOM = np.random.default_rng(5)
PROMPTS = [[0, *RANDOM.integers(2, 250, size).tolist()] for size in (3, 70, 1, 12, 40, 7)]
SIZES: dict[str, Any] = {"vocab_size": 260, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
USUAL: dict[str, Any] = {
    **SIZES,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
TURNED = {"rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 64}
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {  # each with what its family does otherwise
    "llama": ("LlamaConfig", {"head_dim": 16, "attention_bias": True, "mlp_bias": True}),
    "llama-yarn": ("LlamaConfig", {"rope_parameters": {"rope_type": "yarn", **TURNED}, "tie_word_embeddings": True}),
    "llama-dynamic": ("LlamaConfig", {"rope_parameters": {"rope_type": "dynamic", **TURNED}}),
    "mistral": ("MistralConfig", {"sliding_window": 9, "head_dim": 8}),
    "qwen2": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0, 1]}),
    "granite": (
        "GraniteConfig",
        {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.2, "logits_scaling": 5.0},
    ),
    "gemma": ("GemmaConfig", {"head_dim": 16, "tie_word_embeddings": True}),
    "phi3": ("Phi3Config", {"sliding_window": 20, "partial_rotary_factor": 0.5}),
}
OTHERS = {  # by their own modules
    "mixtral": ("MixtralConfig", {"num_local_experts": 4}),
    "olmo2": ("Olmo2Config", {}),
    "stablelm": ("StableLmConfig", {}),
}


def made(config: str, changed: dict[str, Any]) -> Any:
    import transformers

    torch.manual_seed(0)
    causal = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**(USUAL | changed)))
    for name, weight in causal.named_parameters():  # norms and biases that do something
        if weight.dim() == 1:
            nn.init.normal_(weight, mean=0.0 if "gemma" in config.lower() or "bias" in name else 1.0, std=0.3)
    return causal.eval()


def answers(decoder: Decoder, prompts: list[list[int]], count: int = 12) -> list[list[int]]:
    found = write(decoder, prompts, ends=[END], sampling=Sampling(max_new_tokens=count))
    return [answer.token_ids for answer in found]


class NoWords:
    def decode(self, ids: Any, *, skip_special_tokens: bool) -> str:
        return ""


def decoder_of(causal: Any, precision: Precision = EXACT) -> Decoder:
    found = Decoder(LanguageModel(causal).eval(), NoWords(), precision=precision)  # type: ignore[arg-type]
    found.waiting.limit = 1_000
    return found


@pytest.fixture(scope="module")
def small(language_base: Path) -> LanguageModel:
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    model = load_language_model(base)
    model.eval()
    return model


def test_every_known_family_is_tried() -> None:
    assert {name.split("-")[0] for name in KNOWN} == set(FAMILIES)


@pytest.mark.parametrize("name", [*KNOWN, *OTHERS])
def test_families_write_what_generate_writes(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Together and one after the other, prompts in pieces of one pass, far behind every window."""
    config, changed = (KNOWN | OTHERS)[name]
    causal = made(config, changed)
    # a rotation that changes with the longest row is that of a row alone only where it is alone
    prompts = PROMPTS[1:2] if name == "llama-dynamic" else PROMPTS
    expected = [generate(causal, [p], ends=[END], sampling=Sampling(max_new_tokens=12))[0].token_ids for p in prompts]
    opening._notice.cache_clear()
    with caplog.at_level(logging.WARNING, logger="burnish.serving"):
        decoder = decoder_of(causal)
    assert isinstance(decoder._lanes, Together)
    assert isinstance(decoder._lanes.forward, ByParts if name in KNOWN else ByModules)
    assert [name for record in caplog.records if name in record.getMessage()] == ([name] if name in OTHERS else [])
    assert answers(decoder, prompts) == expected


@pytest.mark.parametrize("name", ["qwen2", "gemma", "phi3"])
def test_in_bf16_logits_are_those_of_autocast_within_its_rounding(name: str) -> None:
    config, changed = KNOWN[name]
    causal = made(config, changed)
    row = PROMPTS[4]
    with torch.inference_mode():
        exact = causal(input_ids=torch.tensor([row])).logits[0, -1]
        with LOWER.compute(torch.device("cpu")):
            plain = causal(input_ids=torch.tensor([row])).logits[0, -1].float()
        lanes = open_by_parts(causal, AdapterBank(causal), LOWER, 1 << 12, owned=False)
        assert lanes is not None
        (found,) = opening._last_logits(lanes.forward, AdapterBank(causal), torch.device("cpu"), [row])
    likely = found.topk(forward.AGAIN).values
    assert int((likely == likely.bfloat16().float()).sum()) <= 2, "not rounded to bf16"
    own, autocast = (float((logits - exact).abs().max()) for logits in (found, plain))
    assert own <= 2 * autocast + 1e-3


@pytest.mark.parametrize("fault", ["hooked", "more parts", "computes otherwise", "another layer"])
def test_a_model_that_is_more_than_its_parts_is_computed_by_its_modules(fault: str) -> None:
    causal = made("LlamaConfig", {})
    layer = causal.model.layers[1]
    if fault == "hooked":
        layer.mlp.down_proj.register_forward_hook(lambda module, given, out: out * 2)
    elif fault == "more parts":
        layer.mlp.add_module("adapter", nn.Linear(2, 2))
    elif fault == "computes otherwise":
        own = type(layer.mlp)
        layer.mlp.__class__ = type("Twice", (own,), {"forward": lambda self, x: own.forward(self, x) * 2})
    else:
        layer.self_attn.q_proj = type("Other", (nn.Linear,), {})(32, 32)
    assert open_by_parts(causal, AdapterBank(causal), EXACT, 64, owned=False) is None
    expected = [
        answer.token_ids for answer in generate(causal, PROMPTS, ends=[END], sampling=Sampling(max_new_tokens=8))
    ]
    assert answers(decoder_of(causal), PROMPTS, 8) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_layers_give_what_the_layers_give_side_by_side(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(24, width, bias=width != 7).requires_grad_(False) for width in (16, 7, 40)]
    packed = Packed(layers, dtype)
    for rows in (1, 3, 70):
        states = torch.randn(rows, 24)
        expected = torch.cat([layer(states) for layer in layers], dim=-1)
        found = packed(states)
        assert found.dtype == dtype
        assert float((found.float() - expected).abs().max()) <= 2 * TOLERANCE[dtype] * float(expected.abs().max())


def test_packed_weights_that_multiply_wrongly_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packed, "__call__", lambda self, states: torch.zeros(len(states), 4))
    with pytest.raises(RuntimeError, match="off by"):
        Packed([nn.Linear(8, 4)], torch.float32)


def test_a_service_has_its_weights_once_and_an_evaluation_leaves_the_model_as_it_is() -> None:
    causal = made("LlamaConfig", {"num_hidden_layers": 1})
    weights = {name: weight.detach().clone() for name, weight in causal.named_parameters()}
    whole, packed = bytes_of(causal), sum(p.weight.nbytes for p in causal.modules() if isinstance(p, nn.Linear))
    beside = decoder_beside(LanguageModel(causal), NoWords(), LOWER)  # type: ignore[arg-type]
    assert beside is not None
    assert beside.size_bytes == whole + packed // 2
    assert all(torch.equal(weight, weights[name]) for name, weight in causal.named_parameters())
    kept = decoder_of(causal)
    assert kept.size_bytes == whole
    assert bytes_of(causal) == whole - packed


def test_a_copy_that_takes_too_much_of_the_memory_is_not_made(
    small: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "MEMORY_SHARE", 0.0)
    assert decoder_beside(small, NoWords(), EXACT) is None  # type: ignore[arg-type]
    assert open_by_parts(made("LlamaConfig", {}), AdapterBank(small.causal), EXACT, 64, owned=True) is not None


def test_prompts_that_begin_alike_are_read_once_and_answered_as_alone(small: LanguageModel) -> None:
    """A system prompt of 60 tokens before each of five questions, asked at once."""
    decoder = decoder_beside(small, NoWords(), EXACT)  # type: ignore[arg-type]
    assert decoder is not None
    system = [0, *RANDOM.integers(2, 250, 59).tolist()]
    prompts = [[*system, *RANDOM.integers(2, 250, size).tolist()] for size in (4, 9, 2, 6, 5)]
    read: list[int] = []
    compute = decoder._lanes.compute

    def counted(counts: Any) -> Any:
        read.extend(count for _, count in counts)
        return compute(counts)

    decoder._lanes.compute = counted  # type: ignore[method-assign]
    found = answers(decoder, prompts)
    assert sum(read) == len(system) + 4 + 9 + 2 + 6 + 5
    expected = generate(small.causal, prompts, ends=[END], sampling=Sampling(max_new_tokens=12))
    assert found == [answer.token_ids for answer in expected]


def test_draws_depend_on_the_seed_and_the_number_of_the_prompt_alone(small: LanguageModel) -> None:
    decoder = decoder_beside(small, NoWords(), EXACT)  # type: ignore[arg-type]
    assert decoder is not None

    def drawn(prompts: list[list[int]], seed: int) -> list[list[int]]:
        sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=seed)
        return [answer.token_ids for answer in write(decoder, prompts, ends=[END], sampling=sampling)]

    alike = [PROMPTS[0]] * 3
    first = drawn(alike, 1)
    assert first == drawn(alike, 1)
    assert first[:1] == drawn([PROMPTS[0], PROMPTS[3]], 1)[:1]
    assert first != drawn(alike, 2)
    assert len(set(map(tuple, first))) == 3


def test_threads_that_ask_one_answerer_get_their_own_answers(small: LanguageModel) -> None:
    masker: Any = SimpleNamespace(tokenizer=NoWords())
    answerer = Answerer(small, masker, ends=[END], context=256)
    answerer.precision = EXACT
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(answerer.write, [prompt], Sampling(max_new_tokens=12)) for prompt in PROMPTS * 2]
        found = [each.result()[0].token_ids for each in asked]
    assert answerer._decoder is not None
    expected = generate(small.causal, PROMPTS, ends=[END], sampling=Sampling(max_new_tokens=12))
    assert found == [answer.token_ids for answer in expected] * 2


def test_what_breaks_off_leaves_nobody_waiting(small: LanguageModel) -> None:
    decoder = decoder_beside(small, NoWords(), EXACT)  # type: ignore[arg-type]
    assert decoder is not None
    expected = answers(decoder, PROMPTS)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(decoder, PROMPTS, ends=[END], sampling=Sampling(max_new_tokens=3), advance=stop)
    assert not decoder._rows
    assert not len(decoder.waiting)
    assert answers(decoder, PROMPTS) == expected


def test_trained_weights_write_the_same_in_float32_and_choose_nearly_the_same_in_bf16() -> None:
    """stories260k, where it is at hand: twelve beginnings gone on with for 96 tokens; in bf16 the likeliest token
    behind each of these, so that one that differs does not change what comes after it."""
    folder = Path(__file__).parents[4] / "shared" / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"no small model of trained weights at {folder}")
    found = find_base(ModelOptions(base=str(folder)), recipe_folder=Path(), runs=Path("absent"))
    model, tokenizer = load_language_model(found), load_tokenizer(found.folder)
    model.eval()
    starts = ["Once upon a time", "Lily and Tom", "The dog was", "Mom said", "A bird flew", "The old man", "Ben had a"]
    starts += ["It was a sunny day", "Max found a", "We like", "Sara liked to", "There was a big"]
    prompts = [tokenizer.encode(start).ids for start in starts]
    sampling = Sampling(max_new_tokens=96)
    expected = [a.token_ids for a in generate(model.causal, prompts, ends=[2], sampling=sampling)]
    exact, lower = (decoder_beside(model, tokenizer, precision) for precision in (EXACT, LOWER))
    assert exact is not None
    assert lower is not None
    assert [a.token_ids for a in write(exact, prompts, ends=[2], sampling=sampling)] == expected
    same = []
    for prompt, answer in zip(prompts, expected, strict=True):
        chosen = likeliest(lower, [*prompt, *answer])[len(prompt) - 1 : -1]
        same += [one == other for one, other in zip(chosen, answer, strict=True)]
    assert np.mean(same) >= 0.99


def likeliest(decoder: Decoder, tokens: list[int]) -> list[int]:
    """The likeliest token behind each of some tokens."""
    assert isinstance(decoder._lanes, Together)
    cache = SlotCache(torch.device("cpu"), len(tokens))
    cache.reserve(1, len(tokens))
    places = range(len(tokens))
    with torch.inference_mode():
        computed = Pass(cache, [], [Piece(0, len(tokens), 0, 0)])
        found: list[int] = decoder._lanes.forward(tokens, places, computed, places).argmax(dim=-1).tolist()
    return found


def test_adapters_by_modules_too(small: LanguageModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same adapter beside both ways of computing a base."""
    import copy

    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    core: Any = get_peft_model(
        copy.deepcopy(small.causal), LoraConfig(r=3, target_modules=["k_proj", "v_proj", "gate_proj", "o_proj"])
    )
    for name, weight in core.named_parameters():
        if "lora_" in name:
            nn.init.normal_(weight, std=0.2)
    core.save_pretrained(tmp_path)
    said = []
    for families in (FAMILIES, ()):
        monkeypatch.setattr(decoder_parts, "FAMILIES", families)
        decoder = decoder_of(copy.deepcopy(small.causal))
        assert isinstance(decoder._lanes, Together)
        assert isinstance(decoder._lanes.forward, ByParts if families else ByModules)
        decoder.add_adapter("own", tmp_path)
        pieces: dict[tuple[int, str | None], list[Written]] = {}
        for place, prompt in enumerate(PROMPTS):
            for adapter in ("own", None):
                asked = Asked(ids=prompt, ends=frozenset([END]), max_new_tokens=8, adapter=adapter)

                told = pieces.setdefault((place, adapter), [])
                decoder.waiting.join(Ticket(asked, lambda piece, _, told=told: told.append(piece), print))
        while decoder.step():
            pass
        said.append({key: [chosen.token for chosen in told[0].chosen] for key, told in pieces.items()})
    assert said[0] == said[1]
    assert any(said[0][place, "own"] != said[0][place, None] for place in range(len(PROMPTS)))
