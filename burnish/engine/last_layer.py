"""The last layer computed only for the tokens whose output is read.

After attention every part of a layer looks at one token at a time, and nothing looks at the last layer's output but
the head. Where the head reads one token of a row, or the tokens of an answer, the others need no feed-forward pass.

Families build their layers in a few shapes; each shape has a small function here that finds its layer and narrows it.
What a function claims is not believed: `engine/layout.py` compares it with the whole layer on real rows, and a layer
of another shape is left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Undo = Callable[[], None]


@dataclass(slots=True)
class Wanted:
    """Which positions are read, (R,), None: all; and whether a layer was narrowed to them."""

    positions: Tensor | None = None
    met: bool = False


_wanted: ContextVar[Wanted | None] = ContextVar("wanted", default=None)


@contextlib.contextmanager
def only_at(positions_R: Tensor | None) -> Iterator[Wanted]:
    """Inside the block a narrowed layer gives (1, R, D): its output at these positions of (1, T, D). None: at all."""
    wanted = Wanted(positions_R)
    token = _wanted.set(wanted)
    try:
        yield wanted
    finally:
        _wanted.reset(token)


def narrow_last_layer(encoder: nn.Module) -> Undo | None:
    """Makes the last layer obey `only_at`; gives what undoes it, or None when the layer's shape is not known."""
    stacks = [part for part in encoder.modules() if isinstance(part, nn.ModuleList) and len(part)]
    if not stacks:
        return None
    layer = max(stacks, key=len)[-1]
    for narrow in (_after_attention_output, _between_attention_and_feed_forward):
        undo = narrow(layer)
        if undo is not None:
            return undo
    return None


def wanted_only(values_1T: Tensor) -> Tensor:
    """(1, T, ...) -> (1, R, ...): the values at the positions `only_at` names, or all of them."""
    wanted = _wanted.get()
    if wanted is None or wanted.positions is None:
        return values_1T
    wanted.met = True
    return values_1T.index_select(1, wanted.positions)


def _after_attention_output(layer: Any) -> Undo | None:
    """BERT, RoBERTa, ELECTRA: `attention.output` takes the attended states and the layer's input, and adds them."""
    output = getattr(getattr(layer, "attention", None), "output", None)
    if not isinstance(output, nn.Module) or not hasattr(output, "LayerNorm"):
        return None

    def narrow(_: nn.Module, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(wanted_only(each) for each in states)

    return output.register_forward_pre_hook(narrow).remove


_PRE_NORM = (
    ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp"),  # Llama, Mistral, Mixtral, Qwen
    ("attn_norm", "attn", "mlp_norm", "mlp"),  # ModernBERT
)


def _between_attention_and_feed_forward(layer: Any) -> Undo | None:
    """Layers that add attention(norm(x)) to x, then feed_forward(norm(x)): narrowed between the two."""
    for names in _PRE_NORM:
        if all(isinstance(getattr(layer, name, None), nn.Module) for name in names):
            break
    else:
        return None
    before, attention, between, feed_forward = (getattr(layer, name) for name in names)
    whole = layer.forward

    def narrowed(hidden_states: Tensor, *arguments: Any, **named: Any) -> Any:
        wanted = _wanted.get()
        if wanted is None or wanted.positions is None:
            return whole(hidden_states, *arguments, **named)
        attended = attention(before(hidden_states), *arguments, **named)
        states = wanted_only(hidden_states + (attended[0] if isinstance(attended, tuple) else attended))
        fed = feed_forward(between(states))
        return states + (fed[0] if isinstance(fed, tuple) else fed)

    layer.forward = narrowed

    def undo() -> None:
        if "forward" in type(layer).__dict__ and whole == type(layer).forward.__get__(layer):
            del layer.forward
        else:
            layer.forward = whole

    return undo
