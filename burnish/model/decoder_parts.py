"""What a causal model of a known family is made of: its weights and the numbers of its config, without its modules.

A family is known when what it computes was read in its code: norm, one product for queries, keys and values, rotation,
attention, norm, a gated product and the way back, each with what the family does otherwise. Whoever computes with the
parts compares with the model itself, so a part that was read wrongly is found; what shows only far behind the tokens
that are compared, as a window does, is what the list of families stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "granite", "gemma", "phi3")  # by config.model_type
WINDOW_IN_CONFIG = ("mistral", "phi3")  # whose layers all have the window of the config
GROWN_FROM_ZERO = ("gemma",)  # whose norms multiply by one more than their weights
CHANGING_ROTATIONS = ("dynamic", "longrope")  # depend on the longest row of a pass


class UnknownPartsError(Exception):
    """The model has a part that was not read."""


@dataclass(frozen=True, slots=True)
class Norm:
    """x / rms(x) * weight over the last dimension; several weights in a row are those of heads."""

    weight: Tensor
    epsilon: float

    def __call__(self, states: Tensor) -> Tensor:
        if self.weight.dim() == 1:
            return F.rms_norm(states, self.weight.shape, self.weight, self.epsilon)
        return F.rms_norm(states, states.shape[-1:], None, self.epsilon) * self.weight


@dataclass(frozen=True, slots=True)
class LayerParts:
    """One layer.

    Attributes:
        into: layers for queries, keys and values, in this order, one of each or all in one; names in the model first.
        of_heads: norm of queries and keys, (H + G, d).
        rotates: whether positions turn queries and keys.
        window: tokens that are looked back on; None: all.
        gated: gate and up, one of each or both in one.
    """

    before: Norm
    into: Sequence[tuple[str, nn.Linear]]
    of_heads: Norm | None
    rotates: bool
    scaling: float
    window: int | None
    out: tuple[str, nn.Linear]
    between: Norm
    gated: Sequence[tuple[str, nn.Linear]]
    activation: Callable[[Tensor], Tensor]
    down: tuple[str, nn.Linear]


@dataclass(frozen=True, slots=True)
class DecoderParts:
    """The whole.

    Attributes:
        heads, groups, width: attention heads, those of keys and values, and numbers of each.
        embed: token ids to states, as the model multiplies them.
        rotation: the family's own module.
        residual: what is added to the states is multiplied by it.
        divided: what logits are divided by.
    """

    heads: int
    groups: int
    width: int
    embed: Callable[[Tensor], Tensor]
    rotation: Any
    layers: Sequence[LayerParts]
    after: Norm
    head: nn.Linear
    residual: float
    divided: float

    def linear_layers(self) -> list[nn.Linear]:
        """All of them, the head last."""
        found = [part for layer in self.layers for _, part in (*layer.into, layer.out, *layer.gated, layer.down)]
        return [*found, self.head]


def read_parts(causal: Any) -> DecoderParts:
    """The parts of a model that is in evaluation mode.

    Raises:
        UnknownPartsError: with what was not expected.
    """
    config = causal.config
    family = config.model_type
    if family not in FAMILIES:
        raise UnknownPartsError(f"the family {family} is not among those whose layers were read")
    try:
        model = causal.model
        layers = [_layer(layer, f"model.layers.{index}", config) for index, layer in enumerate(model.layers)]
        attention = model.layers[0].self_attn
        multiplier = float(getattr(config, "embedding_multiplier", 1.0)) if family == "granite" else 1.0
        embed = model.embed_tokens
        return DecoderParts(
            heads=config.num_attention_heads,
            groups=config.num_key_value_heads,
            width=attention.head_dim,
            embed=embed if multiplier == 1.0 else lambda ids: embed(ids) * multiplier,
            rotation=model.rotary_emb,
            layers=layers,
            after=_norm(model.norm, family),
            head=_linear(causal.lm_head, "lm_head")[1],
            residual=float(config.residual_multiplier) if family == "granite" else 1.0,
            divided=float(config.logits_scaling) if family == "granite" else 1.0,
        )
    except AttributeError as error:
        raise UnknownPartsError(str(error)) from error


def _layer(layer: Any, name: str, config: Any) -> LayerParts:
    attention, mlp, family = layer.self_attn, layer.mlp, config.model_type
    _require(layer, name, "self_attn", "mlp", "input_layernorm", "post_attention_layernorm")
    fused = family == "phi3"
    into = ("qkv_proj",) if fused else ("q_proj", "k_proj", "v_proj")
    gated = ("gate_up_proj",) if fused else ("gate_proj", "up_proj")
    normed = ("q_norm", "k_norm") if family == "qwen3" else ()
    activation = "activation_fn" if fused else "act_fn"
    _require(attention, f"{name}.self_attn", *into, "o_proj", *normed)
    _require(mlp, f"{name}.mlp", *gated, "down_proj", activation)
    return LayerParts(
        before=_norm(layer.input_layernorm, family),
        into=[_linear(getattr(attention, part), f"{name}.self_attn.{part}") for part in into],
        of_heads=_norm_of_heads(attention, config) if normed else None,
        rotates=bool(attention.use_rope) if family == "smollm3" else True,
        scaling=float(attention.scaling),
        window=config.sliding_window if family in WINDOW_IN_CONFIG else getattr(attention, "sliding_window", None),
        out=_linear(attention.o_proj, f"{name}.self_attn.o_proj"),
        between=_norm(layer.post_attention_layernorm, family),
        gated=[_linear(getattr(mlp, part), f"{name}.mlp.{part}") for part in gated],
        activation=getattr(mlp, activation),
        down=_linear(mlp.down_proj, f"{name}.mlp.down_proj"),
    )


def _require(part: Any, name: str, *known: str) -> None:
    """Nothing else may stand in it, nor be hooked to it: that would be left out."""
    others = [
        other
        for other, module in part.named_children()
        if other not in known and not isinstance(module, nn.Dropout | nn.Identity)
    ]
    if others or part._forward_hooks or part._forward_pre_hooks or "forward" in part.__dict__:
        raise UnknownPartsError(f"{name} has {', '.join(others) or 'something hooked to it'}")


def _linear(part: Any, name: str) -> tuple[str, nn.Linear]:
    plain = type(part) is nn.Linear and not part._forward_hooks and not part._forward_pre_hooks
    if not plain or "forward" in part.__dict__ or part.weight.dtype not in (torch.float32, torch.bfloat16):
        raise UnknownPartsError(f"{name} is no plain linear layer")
    return name, part


def _norm(part: Any, family: str) -> Norm:
    epsilon = getattr(part, "variance_epsilon", None)
    weight = part.weight.detach().float()
    return Norm(weight + 1.0 if family in GROWN_FROM_ZERO else weight, float(part.eps if epsilon is None else epsilon))


def _norm_of_heads(attention: Any, config: Any) -> Norm:
    """Queries and keys stand side by side, so their weights stand one below the other."""
    query, key = (_norm(part, config.model_type) for part in (attention.q_norm, attention.k_norm))
    counts = (config.num_attention_heads, config.num_key_value_heads)
    if query.epsilon != key.epsilon:
        raise UnknownPartsError("queries and keys have norms of their own")
    return Norm(
        torch.cat([n.weight.expand(count, -1) for n, count in zip((query, key), counts, strict=True)]), query.epsilon
    )
