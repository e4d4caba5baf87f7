"""AdamW with decay groups and layer-wise learning rates, and the running average of the weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from burnish.engine.flat import Flat
from burnish.engine.options import TrainingOptions

LAYER = re.compile(r"\.(?:layers?|h|blocks?|block)\.(\d+)\.")
BETAS, EPSILON = (0.9, 0.999), 1e-8
STEP, FIRST, SECOND = "step", "exp_avg", "exp_avg_sq"  # a weight's state, under torch's names
AT_ONCE = (
    2**26
)  # numbers of a gradient whose squares are added up at once: the library of products takes no more than 2**31
FACTORS = ".ia3_l."  # in the name of an IA3 layer's factors, which peft keeps as a matrix of one row; they start at one


class AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) by torch's fused kernel.

    To the bit what `torch.optim.AdamW(fused=True)` does. That class loads torch's compiler with its first call: seconds
    before the first step, and 70 MB that would lie beside the weights.

    Args:
        groups: "params" (weights), "lr" and "weight_decay" of each; the loop sets "lr" before every step.
    """

    def __init__(self, groups: Sequence[dict[str, Any]]) -> None:
        self.param_groups = list(groups)
        self.state: dict[Tensor, dict[str, Tensor]] = {}  # weight -> step (), exp_avg and exp_avg_sq in its shape
        self._runs: list[_Run] = []

    def hold(self, weights: Sequence[Tensor], values: Flat, gradients: Flat) -> None:
        """Moves weights that lie side by side together, until one of them has no gradient in its place in some step.

        Args:
            weights: group after group.
            values: their numbers.
            gradients: room for their gradients.
        """
        group_of = {id(weight): place for place, group in enumerate(self.param_groups) for weight in group["params"]}
        for group, members in groupby(range(len(weights)), lambda place: group_of[id(weights[place])]):
            first, *more = members
            end = first + 1 + len(more)
            self._runs.append(_Run(self.param_groups[group], weights, values, gradients, slice(first, end)))

    def load(self, state: Mapping[Tensor, dict[str, Tensor]]) -> None:
        """Puts back a state; of a weight that had no gradient yet there is none."""
        self.state = dict(state)
        most = max((float(own[STEP]) for own in state.values()), default=0.0)
        for run in self._runs:
            run.load(self.state, most)

    def mean_norm(self, units: float) -> float:
        """Euclidean length of the mean gradient, of gradients that are sums over `units`."""
        runs, weights = self._in_runs()
        gradients = [*(run.gradient for run in runs), *(weight.grad for weight in weights if weight.grad is not None)]
        norms = [_length(gradient) for gradient in gradients]
        return float(torch.linalg.vector_norm(torch.stack(norms))) / units if norms else 0.0

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """Moves every weight that has a gradient, which is multiplied by `factor` first: a mean of a sum, clipped."""
        runs, weights = self._in_runs()
        if runs or any(weight.grad is not None for weight in weights):
            for run in self._runs:
                run.apart = run not in runs
        for run in runs:
            run.move(self.state, factor)
        loose = {id(weight) for weight in weights}
        for group in self.param_groups:
            alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None and id(weight) in loose:
                    alike.setdefault((weight.device, weight.dtype), []).append(weight)
            for own in alike.values():
                gradients = [weight.grad for weight in own if weight.grad is not None]
                self._move(own, gradients, factor, rate=group["lr"], decay=group["weight_decay"])

    def _in_runs(self) -> tuple[list[_Run], list[Tensor]]:
        """The runs that are whole, and the weights that are in none of these."""
        runs = [run for run in self._runs if run.is_whole()]
        held = {id(weight) for run in runs for weight in run.weights}
        return runs, [weight for group in self.param_groups for weight in group["params"] if id(weight) not in held]

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], factor: float, *, rate: float, decay: float
    ) -> None:
        for weight in weights:
            if weight not in self.state:  # moments are as large as the weights: none is made in vain
                self.state[weight] = _no_moments(weight)
        states = [self.state[weight] for weight in weights]
        first, second, steps = ([state[name] for state in states] for name in (FIRST, SECOND, STEP))
        torch._foreach_add_(steps, 1)
        _adamw(weights, gradients, first, second, steps, factor, rate=rate, decay=decay)

    def zero_grad(self) -> None:
        """Gives the gradients' memory back."""
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad = None


class _Run:
    """Weights of one group that lie side by side.

    Attributes:
        gradient: (N,) the numbers of their gradients, where each is in its place.
        apart: there was a step of the optimizer that did not move all of them. Each counts its own from then on.
    """

    def __init__(
        self, group: dict[str, Any], weights: Sequence[Tensor], values: Flat, gradients: Flat, place: slice
    ) -> None:
        self.weights, self.gradient = weights[place], gradients.between(place)
        self._group, self._values, self._gradients = group, values.between(place), gradients.parts[place]
        self._moments: tuple[Flat, Flat, Tensor] | None = None  # the first, the second, and (weights,) steps
        self.apart = False

    def is_whole(self) -> bool:
        own = zip(self.weights, self._gradients, strict=True)
        return not self.apart and all(weight.grad is gradient for weight, gradient in own)

    def move(self, state: dict[Tensor, dict[str, Tensor]], factor: float) -> None:
        if self._moments is None:
            self._moments = self._make_moments(state)
        first, second, steps = self._moments
        rule = {"rate": self._group["lr"], "decay": self._group["weight_decay"]}
        steps.add_(1)
        moments = [first.buffer], [second.buffer], [steps[0]]
        _adamw([self._values], [self.gradient], *moments, factor, **rule)

    def load(self, state: dict[Tensor, dict[str, Tensor]], steps: float) -> None:
        """Takes a state that was put back, after so many steps of the optimizer."""
        loaded = [state.get(weight, {}) for weight in self.weights]
        self._moments = None
        self.apart = any(float(own.get(STEP, 0.0)) != steps for own in loaded)
        if steps and not self.apart:
            self._moments = self._make_moments(state)
            for weight, own in zip(self.weights, loaded, strict=True):
                for name, value in state[weight].items():
                    value.copy_(own[name])

    def _make_moments(self, state: dict[Tensor, dict[str, Tensor]]) -> tuple[Flat, Flat, Tensor]:
        """Moments and steps, zero, of which the state of each weight has its own from now on."""
        first, second, steps = Flat(self.weights), Flat(self.weights), torch.zeros(len(self.weights))
        for weight, step, one, two in zip(self.weights, steps, first.parts, second.parts, strict=True):
            state[weight] = {STEP: step, FIRST: one, SECOND: two}
        return first, second, steps


def _adamw(
    weights: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    factor: float,
    *,
    rate: float,
    decay: float,
) -> None:
    """Moves weights by their gradients, which are multiplied by `factor` first."""
    divisor = torch.full((), 1.0 / factor, dtype=torch.float32, device=weights[0].device)
    torch._fused_adamw_(
        weights,
        gradients,
        first,
        second,
        [],
        steps,
        lr=rate,
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=decay,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
        grad_scale=divisor,
    )


def _length(gradient: Tensor) -> Tensor:
    """Its Euclidean norm, (); on a CPU as a product with itself, which reads memory faster than the norm does."""
    if gradient.device.type != "cpu" or gradient.dtype != torch.float32 or not gradient.is_contiguous():
        length: Tensor = torch.linalg.vector_norm(gradient)
        return length
    return torch.stack([torch.dot(part, part) for part in torch.split(gradient.view(-1), AT_ONCE)]).sum().sqrt()


def _no_moments(weight: Tensor) -> dict[str, Tensor]:
    step = torch.zeros((), dtype=torch.float32, device=weight.device)
    return {STEP: step, FIRST: torch.zeros_like(weight), SECOND: torch.zeros_like(weight)}


def build_optimizer(model: nn.Module, trainable: Mapping[str, Tensor], options: TrainingOptions) -> AdamW:
    """AdamW over the weights that learn.

    Matrices decay, vectors (biases, norms, IA3's factors) and embeddings do not. Each layer's rate is `layer_decay`
    times that of the layer above it, the head's is the full rate (ULMFiT, arXiv:1801.06146).
    """
    assert options.learning_rate is not None
    depth = 1 + max((_layer(name) for name in trainable if _layer(name) >= 0), default=-1)
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, weight in trainable.items():
        embeds = id(weight) in embeddings
        decays = weight.ndim >= 2 and FACTORS not in name and not embeds
        below = _steps_below_head(name, depth, embeds=embeds or "embed" in name)
        groups.setdefault((options.learning_rate * options.layer_decay**below, decays), []).append(weight)
    made = [
        {
            "params": weights,
            "lr": rate,
            "peak": rate,
            "weight_decay": options.weight_decay if decays else 0.0,
        }
        for (rate, decays), weights in groups.items()
    ]
    if options.optimizer == "adamw":
        return AdamW(made)
    from burnish.engine.optimizer_8bit import AdamW8bit

    return AdamW8bit(made, exact=embeddings)


def _layer(name: str) -> int:
    match = LAYER.search(name)
    return int(match.group(1)) if match else -1


def _steps_below_head(name: str, depth: int, *, embeds: bool) -> int:
    """0 for the head, 1 for the top layer, depth + 1 for the embeddings."""
    if name.startswith("head."):
        return 0
    layer = _layer(name)
    if layer >= 0:
        return depth - layer
    if not depth:  # a prompt, or nothing below the head
        return 0
    return depth + 1 if embeds else 1


def learning_rate_factor(step: int, *, total_steps: int, options: TrainingOptions) -> float:
    """Share of the peak learning rate for 0-based `step`: linear warm-up, then cosine, linear or constant, in 0..1."""
    warmup = round(total_steps * options.warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total_steps - warmup)
    if options.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - progress if options.schedule == "linear" else 1.0


class WeightAverage:
    """Exponential running average of the weights that learn; usually better than the last weights.

    The decay grows with the steps, min(decay, (1 + step) / (10 + step)), so that a short run is not held back by its
    start. Source: Polyak & Juditsky 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, trainable: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = {name: weight.detach().clone() for name, weight in trainable.items()}
        self._held: tuple[frozenset[str], Tensor, Tensor] = frozenset(), torch.empty(0), torch.empty(0)

    def hold(self, names: Sequence[str], values: Flat) -> None:
        """Averages weights that lie side by side together.

        Args:
            names: of these.
            values: their numbers.
        """
        own = Flat(values.parts)
        for name, part in zip(names, own.parts, strict=True):
            self.weights[name] = part.copy_(self.weights[name])
        self._held = frozenset(names), values.buffer, own.buffer

    @torch.no_grad()
    def start_from(self, trainable: Mapping[str, Tensor]) -> None:
        for name, weight in self.weights.items():
            weight.copy_(trainable[name])

    @torch.no_grad()
    def update(self, trainable: Mapping[str, Tensor], step: int) -> None:
        held, values, own = self._held
        share = 1.0 - min(self.decay, (1 + step) / (10 + step))
        own.lerp_(values, share)
        loose = [name for name in self.weights if name not in held]
        if loose:
            torch._foreach_lerp_([self.weights[name] for name in loose], [trainable[name] for name in loose], share)
