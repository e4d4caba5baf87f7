"""LoRA layers that are computed together give what peft computes, in every family, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.fused_lora import fused_lora
from burnish.engine.precision import Precision
from burnish.method.lora import Lora

FP32, BF16 = Precision("fp32", "numbers are compared"), Precision("bf16", "weights are rounded")
TOLERANCE = 2e-5  # of the largest number: float32 through two layers, sums in another order
SIZES: dict[str, Any] = {"vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "head_dim": 4, "max_position_embeddings": 80, "initializer_range": 0.3}
SIZES |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WIDE = {"intermediate_size": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": WIDE | {"attention_bias": True},
    "Mistral": WIDE,
    "Mixtral": WIDE | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Qwen2": WIDE,
    "Qwen3": WIDE,
    "Gemma": WIDE,
    "Gemma2": WIDE,
    "Phi": WIDE,
    "Phi3": WIDE,
    "Olmo2": WIDE,
    "Granite": WIDE,
    "SmolLM3": WIDE,
    "StableLm": WIDE,
    "GPTNeoX": WIDE,
    "Cohere": WIDE,
}


def adapted(family: str, **options: Any) -> Any:
    """A tiny model of the family with LoRA beside its layers, whose updates are not zero."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES | FAMILIES[family])
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    return with_updates(Lora(rank=4, **options).attach(model))


def with_updates(model: nn.Module) -> nn.Module:
    for weight in model.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=0.1)
    return model.eval()


def computed(model: Any) -> dict[str, Tensor]:
    """Logits of a few tokens, and the gradients of their squares."""
    model.zero_grad()
    logits = model(input_ids=torch.arange(3, 15)[None]).logits
    logits.square().sum().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return {"logits": logits.detach(), **{name: gradient.clone() for name, gradient in gradients.items()}}


def same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        largest = max(1.0, float(value.abs().max()))
        assert float((value - other[name]).abs().max()) <= tolerance * largest, name


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Mean over logits and gradients of how far they lie apart, as a share of their length."""
    shares = [float((one[name] - other[name]).norm() / other[name].norm()) for name in other]
    return sum(shares) / len(shares)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_compute_what_peft_computes(family: str) -> None:
    model = adapted(family)
    plain = computed(model)
    with fused_lora(model, FP32) as found:
        together = computed(model)
    assert "are computed together" in found.sentence
    assert "others" not in found.sentence
    same(plain, together, TOLERANCE)
    same(plain, computed(model), 0.0)  # and behind the block it is peft again


def test_siblings_are_one_product() -> None:
    """Queries, keys and values are one, both halves of the feed-forward layer one: four instead of seven a layer."""
    model = adapted("Llama")
    with fused_lora(model, FP32), torch.profiler.profile() as profile:
        model(input_ids=torch.arange(3, 15)[None])
    products = [event for event in profile.events() if event.name == "_Fused"]
    assert len(products) == 2 * 4


def test_bf16_weights_are_held_in_bf16_and_come_back_to_the_bit() -> None:
    model = adapted("Llama")
    frozen = {name: weight for name, weight in model.named_parameters() if "base_layer" in name and weight.ndim == 2}
    exact = [name for name in frozen if "layers.0" in name]
    for name in exact:
        frozen[name].data = frozen[name].data.bfloat16().float()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    precise = computed(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = computed(model)
    with fused_lora(model, BF16):
        assert {name for name, weight in frozen.items() if weight.dtype == torch.bfloat16} == set(exact)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            together = computed(model)
        computed(model)  # without autocast, as answers are written between two steps
    assert distance(together, precise) < 1.5 * distance(plain, precise)  # rounded in other places, not more
    for name, weight in model.named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, before[name]), name


def test_an_error_inside_leaves_the_model_as_it_was() -> None:
    model = adapted("Llama")
    with pytest.raises(KeyError), fused_lora(model, BF16):
        raise KeyError("memory, or a signal")
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert not [part for part in model.modules() if "forward" in vars(part)]


def test_nothing_is_kept_of_a_pass_that_broke_off_between_two_layers() -> None:
    model = adapted("Llama")

    def broken(*_: object) -> None:
        raise MemoryError

    second = next(part for name, part in model.named_modules() if name.endswith("mlp.act_fn"))
    hook = second.register_forward_pre_hook(broken)
    with fused_lora(model, FP32) as found:
        with pytest.raises(MemoryError):
            computed(model)
        assert any(group._waiting for group in found._groups)
        found.forget()
        assert not any(group._waiting or group._read is not None for group in found._groups)
        hook.remove()
        again = computed(model)
    same(again, computed(model), 1e-4)


class Crossed(nn.Module):
    """Attention of a decoder to an encoder: queries and keys read different states, under the names of siblings."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(8, 6)

    def forward(self, read: Tensor, memory: Tensor) -> Tensor:
        return self.q_proj(read) * self.k_proj(memory) + self.v_proj(memory)


def test_layers_that_read_different_states_are_taken_apart() -> None:
    torch.manual_seed(0)
    model: Any = with_updates(Lora(rank=2).attach(Crossed()))
    read, memory = torch.randn(2, 3, 8)
    plain = model(read, memory)
    with fused_lora(model, FP32):
        first, second = model(read, memory), model(read, memory)
        assert torch.equal(second, model(read, memory))  # once apart they stay so: a step's bits do not change again
    assert torch.allclose(plain, first, atol=TOLERANCE)
    assert torch.allclose(plain, second, atol=TOLERANCE)


def test_what_is_not_plain_is_left_to_peft_and_said() -> None:
    model = adapted("Llama", decomposed=True)
    plain = computed(model)
    with fused_lora(model, FP32) as found:
        same(plain, computed(model), 0.0)
    assert found.sentence == "0 of 14 LoRA layers are computed together, the others as peft does"


def test_with_the_adapter_off_it_is_the_base() -> None:
    """The reference of a preference loss: no update, computed by peft."""
    model = adapted("Llama")
    ids = torch.arange(3, 15)[None]
    with torch.no_grad(), model.disable_adapter():
        base = model(input_ids=ids).logits
    with fused_lora(model, FP32), torch.no_grad(), model.disable_adapter():
        assert torch.equal(model(input_ids=ids).logits, base)
