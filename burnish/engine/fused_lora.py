"""LoRA layers as a training computes them: layers that read the same states together, in one pass over memory.

peft computes a layer as what it is made of: the frozen product, a cast, two thin products, a scaling, a sum, and keeps
the input of each. Here queries, keys and values (or the two halves of a gated feed-forward layer) are one frozen
product and two thin ones, their input is rounded and kept once, and the frozen weights get no gradient.

The weights that learn stay peft's: what is saved, merged or averaged is not touched. Frozen weights whose numbers fit
into bf16, as those of most published bases do, are held in it for as long as the training runs; the others get a
rounded copy beside them. Which layers may be computed so is not guessed: each kind is compared with peft's own result.

Shapes: T tokens, I numbers of the input, O of all outputs, N layers of a group, K = N * rank.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.engine.fp8 import EightBits, fits, why_slow
from burnish.engine.memory import is_out_of_memory
from burnish.engine.precision import Precision
from burnish.model.intake import excerpt_of

TOGETHER = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"),
    ("gate_proj", "up_proj"),
)  # names of layers that read the same states, in most families; where they do not, a group is taken apart
TOLERANCE = 1e-5  # of the largest number, in float32: the same sums in another order
WIDER = 10  # times that on a GPU, whose models are wider and whose products are split further
OF_LOSS = 0.005  # that 8 bits may change, of the loss
PROBE = 5  # tokens that are compared


@contextlib.contextmanager
def fused_lora(model: nn.Module, precision: Precision) -> Iterator[FusedLora]:
    """Inside the block, LoRA layers are computed together where that gives what peft computes.

    Yields:
        What was found; its sentence is empty where there are no such layers.
    """
    peft = sys.modules.get("peft.tuners.lora")  # where it was never imported there are no such layers
    every = [part for part in model.modules() if peft is not None and isinstance(part, peft.LoraLayer)]
    layers = [part for part in every if _is_lora(part)]
    proven: dict[Hashable, bool] = {}
    groups = [group for group in _groups(model, layers) if _proven(group, proven)]
    fused = {id(layer): layer for group in groups for layer in group.layers}
    weights = contextlib.ExitStack()
    try:
        for group in groups:
            group.install()
            if precision.name == "bf16":
                weights.enter_context(group.rounded())
        yield FusedLora(_sentence(len(every), len(fused)), groups)
    finally:
        for group in groups:
            group.remove()
        weights.close()


class FusedLora:
    """Layers that are computed together; `sentence` says how many, for the run's record."""

    def __init__(self, sentence: str, groups: Sequence[_Group]) -> None:
        self.sentence = sentence
        self._groups = groups

    @contextlib.contextmanager
    def in_eight_bits(self, loss: Callable[[], float]) -> Iterator[str]:
        """Inside the block products with frozen weights are in 8 bits, unless that changes the loss.

        Args:
            loss: of some rows, per unit, behind a backward pass.

        Yields:
            What was done, for the run's record.
        """
        groups = [group for group in self._groups if group.weight is not None and fits(group.weight)]
        if not groups:
            yield "fp8 is given up: beside this LoRA there is no frozen weight in bf16 that 8 bits fit"
            return
        plain = loss()
        try:
            yield self._eight_or_not(groups, plain, loss)
        finally:
            self._whole(groups)

    def _eight_or_not(self, groups: Sequence[_Group], plain: float, loss: Callable[[], float]) -> str:
        try:
            for group in groups:
                assert group.weight is not None
                group.eight = EightBits(group.weight)
            found = loss()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._whole(groups)
            return f"fp8 is given up: refused here ({excerpt_of(error)})"
        losses = f"loss {found:.4f} instead of {plain:.4f} on real rows"
        if not abs(found - plain) <= OF_LOSS * abs(plain):
            self._whole(groups)
            return f"fp8 is given up: {losses}"
        count = sum(len(group.layers) for group in groups)
        return f"fp8: frozen weights of {count} layers in 8 bits, {losses}{why_slow()}"

    def _whole(self, groups: Sequence[_Group]) -> None:
        for group in groups:
            group.eight = None

    def forget(self) -> None:
        """Lets go of what a pass left that broke off between two layers of a group."""
        for group in self._groups:
            group.forget()


def _sentence(layers: int, fused: int) -> str:
    if fused == layers:
        return f"{layers} LoRA layers are computed together" if layers else ""
    return f"{fused} of {layers} LoRA layers are computed together, the others as peft does"


class _Group:
    """Layers that read the same states: the first that is asked computes all of them."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = list(layers)
        self.weight: Tensor | None = None  # (O, I) of all layers in bf16, while there is one
        self.eight: EightBits | None = None  # the same in 8 bits, for its products
        self._own: list[Callable[..., Tensor]] = []
        self._read: Tensor | None = None
        self._waiting: dict[int, Tensor] = {}
        self._apart = False

    def install(self) -> None:
        self._own = [layer.forward for layer in self.layers]
        for place, layer in enumerate(self.layers):
            layer.forward = self._forward_of(place)

    def remove(self) -> None:
        for layer in self.layers:
            layer.__dict__.pop("forward", None)
        self.forget()

    @contextlib.contextmanager
    def rounded(self) -> Iterator[None]:
        """Inside the block the frozen weights are bf16, together; those that this would change stay beside it."""
        bases = [layer.base_layer for layer in self.layers]
        self.weight = torch.cat([base.weight.detach() for base in bases]).bfloat16()
        changed = []
        parts = torch.split(self.weight, [len(base.weight) for base in bases])
        for base, part in zip(bases, parts, strict=True):
            if base.weight.dtype == torch.bfloat16:  # it is not kept twice
                base.weight.data = part
            elif base.weight.dtype == torch.float32 and torch.equal(base.weight, part.float()):
                changed.append(base.weight)
                base.weight.data = part
        try:
            yield
        finally:
            self.weight = None
            for weight in changed:
                weight.data = weight.data.float()

    def compute(self, places: Sequence[int], states: Tensor) -> tuple[Tensor, ...]:
        """What some of the layers make of the states."""
        layers = [self.layers[place] for place in places]
        bases = [layer.base_layer for layer in layers]
        device = states.device.type
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
        whole = self.weight if len(places) == len(self.layers) else None
        weight = torch.cat([base.weight for base in bases]) if whole is None and len(bases) > 1 else whole
        weight = bases[0].weight if weight is None else weight
        biases = [base.bias for base in bases]
        bias = None if biases[0] is None else torch.cat(biases)
        learned = [(_learned(layer, "lora_A"), _learned(layer, "lora_B")) for layer in layers]
        with torch.autocast(device, enabled=False):
            outputs: tuple[Tensor, ...] = _Fused.apply(  # type: ignore[no-untyped-call]
                states,
                weight.detach().to(precision),
                self.eight if whole is not None and precision == torch.bfloat16 else None,
                bias if bias is None else bias.detach().to(precision),
                [layer.scaling[layer.active_adapters[0]] for layer in layers],
                *(matrix for pair in learned for matrix in pair),
            )
        return outputs

    def _forward_of(self, place: int) -> Callable[..., Tensor]:
        def forward(states: Tensor, *arguments: Any, **named: Any) -> Tensor:
            if arguments or named or not all(map(_is_lora, self.layers)):
                return self._own[place](states, *arguments, **named)
            if self._apart or len(self.layers) == 1:
                return self.compute([place], states)[0]
            if self._read is not None and (self._read is not states or place not in self._waiting):
                self._apart = self._read is not states and bool(self._waiting)
                self.forget()
                return forward(states)
            if self._read is None:
                self._read, self._waiting = states, dict(enumerate(self.compute(range(len(self.layers)), states)))
            output = self._waiting.pop(place)
            if not self._waiting:
                self.forget()
            return output

        return forward

    def forget(self) -> None:
        self._read, self._waiting = None, {}


class _Fused(torch.autograd.Function):
    """x W' + b + (x A') (s B)' of layers side by side; gradients of x, A and B alone.

    Source: Hu et al. 2021, arXiv:2106.09685, equation 3.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_OI: Tensor, eight: Any, bias: Tensor | None, scales: Any, *learned: Tensor
    ) -> Any:
        downs, ups = learned[::2], learned[1::2]
        states_TI = x.reshape(-1, x.shape[-1]).to(weight_OI.dtype)
        down_KI = torch.cat(downs).to(weight_OI.dtype)
        scaled = [up * scale for up, scale in zip(ups, scales, strict=True)]
        up_OK = torch.block_diag(*scaled).to(weight_OI.dtype)  # type: ignore[no-untyped-call]
        narrow_TK = states_TI @ down_KI.T
        output_TO = F.linear(states_TI, weight_OI, bias) if eight is None else _in_eight(eight, states_TI, bias)
        output_TO.addmm_(narrow_TK, up_OK.T)
        ctx.save_for_backward(states_TI, narrow_TK, weight_OI, down_KI, up_OK)
        ctx.scales, ctx.shape, ctx.dtype, ctx.eight = scales, x.shape, x.dtype, eight
        ctx.sizes, ctx.ranks = [len(up) for up in ups], [len(down) for down in downs]
        return torch.split(output_TO.view(*x.shape[:-1], -1), ctx.sizes, dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        states_TI, narrow_TK, weight_OI, down_KI, up_OK = ctx.saved_tensors
        flat = [gradient.reshape(-1, gradient.shape[-1]).to(weight_OI.dtype) for gradient in gradients]
        output_TO = torch.cat(flat, dim=1) if len(flat) > 1 else flat[0]
        narrow = output_TO @ up_OK
        of_input = None
        if ctx.needs_input_grad[0]:
            of_input = output_TO @ weight_OI if ctx.eight is None else ctx.eight.back(output_TO)
            of_input = of_input.addmm_(narrow, down_KI).view(ctx.shape).to(ctx.dtype)
        downs = (narrow.T @ states_TI).float().split(ctx.ranks)
        up_OK = (output_TO.T @ narrow_TK).float()
        parts = zip(up_OK.split(ctx.sizes), ctx.scales, _starts(ctx.ranks), ctx.ranks, strict=True)
        ups = [part[:, start : start + rank] * scale for part, scale, start, rank in parts]
        return (of_input, None, None, None, None, *(each for pair in zip(downs, ups, strict=True) for each in pair))


def _in_eight(weight: EightBits, states_TI: Tensor, bias: Tensor | None) -> Tensor:
    product_TO = weight.times(states_TI)
    return product_TO if bias is None else product_TO.add_(bias)


def _starts(lengths: Sequence[int]) -> list[int]:
    return [sum(lengths[:place]) for place in range(len(lengths))]


def _learned(layer: Any, name: str) -> Tensor:
    weight: Tensor = getattr(layer, name)[layer.active_adapters[0]].weight
    return weight


def _is_lora(part: Any) -> bool:
    """A linear layer with one plain LoRA beside it, which is on, and beside weights that nobody packed or learns."""
    peft = sys.modules.get("peft.tuners.lora")  # where it was never imported there are no such layers
    if (
        peft is None
        or type(part) is not peft.Linear
        or part.disable_adapters
        or part.merged
        or len(part.active_adapters) != 1
    ):
        return False
    name, base = part.active_adapters[0], part.base_layer
    plain = name in part.lora_A and name not in part.lora_variant and not part.lora_bias.get(name)
    still = isinstance(part.lora_dropout[name], nn.Identity) if plain else False
    return (
        plain
        and still
        and type(base) is nn.Linear
        and not part.fan_in_fan_out
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
    )


def _groups(model: nn.Module, layers: Sequence[Any]) -> list[_Group]:
    """Every layer once, with those of its siblings that read what it reads."""
    known, taken, found = {id(layer) for layer in layers}, set[int](), []
    for parent in model.modules():
        parts: dict[str, Any] = dict(parent.named_children())
        for names in TOGETHER:
            group = [parts[name] for name in names if id(parts.get(name)) in known]
            alike = {(part.base_layer.in_features, part.base_layer.bias is None) for part in group}
            if len(group) > 1 and len(alike) == 1 and not taken & {id(part) for part in group}:
                found.append(_Group(group))
                taken |= {id(part) for part in group}
    return found + [_Group([layer]) for layer in layers if id(layer) not in taken]


def _proven(group: _Group, known: dict[Hashable, bool]) -> bool:
    """Whether groups of this kind were compared with peft; the first of a kind is."""
    kind = tuple(
        (layer.base_layer.weight.shape, layer.base_layer.weight.dtype, layer.base_layer.bias is None, *layer.r.items())
        for layer in group.layers
    )
    if kind not in known:
        known[kind] = _same_as_peft(group)
    return known[kind]


def _same_as_peft(group: _Group) -> bool:
    """Whether outputs and gradients are peft's on a few states, with updates that are not zero."""
    layers = group.layers
    learned = [_learned(layer, name) for layer in layers for name in ("lora_A", "lora_B")]
    frozen = [weight for layer in layers for weight in layer.base_layer.parameters()]
    exact = all(weight.dtype in (torch.float32, torch.bfloat16) for weight in frozen)
    if not exact or any(weight.dtype != torch.float32 for weight in learned):
        return False
    kept, device = [weight.data for weight in (*learned, *frozen)], learned[0].device
    width = layers[0].base_layer.in_features
    states = torch.arange(PROBE * width, device=device, dtype=torch.float32).sin().view(1, PROBE, width)
    try:
        for weight in frozen:
            weight.data = weight.data.float()
        for place, weight in enumerate(learned):
            weight.data = torch.arange(weight.numel(), device=device).add(place).cos().view_as(weight) / 10
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            found = []
            for way in (lambda x: [layer(x) for layer in layers], lambda x: group.compute(range(len(layers)), x)):
                given = states.clone().requires_grad_()
                outputs = way(given)
                total = sum((output * (place + 1)).square().sum() for place, output in enumerate(outputs))
                found.append([*outputs, *torch.autograd.grad(total, [given, *learned])])
    except (RuntimeError, TypeError, ValueError):
        return False
    finally:
        for weight, data in zip((*learned, *frozen), kept, strict=True):
            weight.data = data
    pairs = [(one.detach(), other.detach()) for one, other in zip(*found, strict=True)]
    room = TOLERANCE if device.type == "cpu" else WIDER * TOLERANCE
    return all(float((a - b).abs().max()) <= room * max(1.0, float(a.abs().max())) for a, b in pairs)
