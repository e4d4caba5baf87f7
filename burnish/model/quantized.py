"""Weights kept in four bits: how they are loaded, counted, and made whole again.

The format is NF4 with its scales quantised once more, by bitsandbytes. Source: Dettmers et al. 2023, QLoRA,
arXiv:2305.14314.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from burnish.errors import ModelError
from burnish.model.libraries import open_bitsandbytes

NF4 = "nf4"
PACKED = 2  # weights in each number of a four-bit tensor


def quantization_config() -> Any:
    """What transformers needs to load a base in NF4.

    Raises:
        ModelError: [model/no-bitsandbytes].
    """
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise ModelError(
            "model/no-bitsandbytes",
            "four-bit weights need bitsandbytes",
            where="method",
            hint="pip install 'burnish[qlora]'",
        )
    open_bitsandbytes()
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=NF4,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if native else torch.float32,
    )


def keep_exact(model: nn.Module) -> None:
    """Lets the four-bit layers of a model compute with their weights and scales as they are.

    On a CPU with bf16 bitsandbytes would pack them anew at the first prediction: scales rounded to bf16 for good, so
    that training went on from other weights, and an error for layers whose shape is no multiple of its blocks.
    """
    for part in model.modules():
        if getattr(part, "support_avx512bf16_for_cpu", False):
            part.support_avx512bf16_for_cpu = False  # type: ignore[assignment]  # bitsandbytes' own switch


def count_weights(model: nn.Module) -> int:
    """Weights of a model; two in each number of a packed tensor."""
    return sum(weight.numel() * (PACKED if is_packed(weight) else 1) for weight in model.parameters())


def is_packed(weight: Any) -> bool:
    return getattr(weight, "quant_state", None) is not None


def made_whole(linear: Any) -> nn.Linear:
    """A layer of four-bit weights as a plain one in float32 that computes the same."""
    from bitsandbytes.functional import dequantize_4bit

    weight = dequantize_4bit(linear.weight.data, linear.weight.quant_state).float()
    whole = nn.Linear(linear.in_features, linear.out_features, bias=linear.bias is not None, device=weight.device)
    with torch.no_grad():
        whole.weight.copy_(weight)
        if linear.bias is not None:
            whole.bias.copy_(linear.bias)
    return whole


def merged_and_whole(adapted: Any) -> nn.Module:
    """The model under a peft adapter with all weights whole and the adapter's updates added to them.

    The updates are never rounded to four bits: they are mostly smaller than one step of that grid and would be lost.
    """
    model: Any = adapted.get_base_model()
    for name, part in list(model.named_modules()):
        if hasattr(part, "get_delta_weight") and is_packed(part.base_layer.weight):
            whole = made_whole(part.base_layer)
            with torch.no_grad():
                for adapter in part.active_adapters:
                    whole.weight.add_(part.get_delta_weight(adapter).to(whole.weight))
            model.set_submodule(name, whole)
    for name, part in list(model.named_modules()):
        if isinstance(part, nn.Linear) and is_packed(part.weight):
            model.set_submodule(name, made_whole(part))
    marks = [(model, name) for name in ("hf_quantizer", "quantization_method", "peft_config")]
    for owner, mark in (*marks, (model.config, "quantization_config")):
        if hasattr(owner, mark):
            delattr(owner, mark)
    for mark in ("is_quantized", "is_loaded_in_4bit"):
        setattr(model, mark, False)
    plain: nn.Module = model
    return plain
