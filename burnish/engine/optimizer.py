"""AdamW with decay groups and layer-wise learning rates, and the running average of the weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from burnish.engine.options import TrainingOptions

LAYER = re.compile(r"\.(?:layers?|h|blocks?|block)\.(\d+)\.")
BETAS, EPSILON = (0.9, 0.999), 1e-8
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
        self._space: Tensor | None = None  # for one gradient that is narrower than its weight

    def mean_norm(self, units: float) -> float:
        """Euclidean length of the mean gradient, of gradients that are sums over `units`."""
        weights = [weight for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        norms = [torch.linalg.vector_norm(self._wide(weight)) for weight in weights]
        return float(torch.linalg.vector_norm(torch.stack(norms))) / units if norms else 0.0

    def _wide(self, weight: Tensor) -> Tensor:
        """The gradient as wide as its weight; until the next one is asked for, if it had to be widened."""
        assert weight.grad is not None
        if weight.grad.dtype == weight.dtype:
            return weight.grad
        if self._space is None or self._space.numel() < weight.numel():
            self._space = weight.new_empty(weight.numel())
        return self._space[: weight.numel()].view_as(weight).copy_(weight.grad)

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """Moves every weight that has a gradient, which is multiplied by `factor` first: a mean of a sum, clipped."""
        for group in self.param_groups:
            rule = {"rate": group["lr"], "decay": group["weight_decay"]}
            alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if weight.grad.dtype == weight.dtype:
                    alike.setdefault((weight.device, weight.dtype), []).append(weight)
                else:  # one after the other: never all gradients as wide as the weights
                    self._move([weight], [self._wide(weight).mul_(factor)], **rule)
            for weights in alike.values():
                gradients = [weight.grad for weight in weights if weight.grad is not None]
                if factor != 1.0:
                    torch._foreach_mul_(gradients, factor)
                self._move(weights, gradients, **rule)

    def _move(self, weights: list[Tensor], gradients: list[Tensor], *, rate: float, decay: float) -> None:
        for weight in weights:
            if weight not in self.state:  # moments are as large as the weights: none is made in vain
                self.state[weight] = _no_moments(weight)
        states = [self.state[weight] for weight in weights]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            weights,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Gives the gradients' memory back."""
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad = None


def _no_moments(weight: Tensor) -> dict[str, Tensor]:
    step = torch.zeros((), dtype=torch.float32, device=weight.device)
    return {"step": step, "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}


def build_optimizer(model: nn.Module, trainable: Mapping[str, Tensor], options: TrainingOptions) -> AdamW:
    """AdamW over the weights that learn.

    Matrices decay, vectors (biases, norms, IA3's factors) and embeddings do not. Each layer's rate is `layer_decay`
    times that of the layer above it, the head's is the full rate (ULMFiT, arXiv:1801.06146).
    """
    assert options.learning_rate is not None
    depth = 1 + max((_layer(name) for name in trainable if _layer(name) >= 0), default=-1)
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    groups: dict[tuple[int, bool], list[Tensor]] = {}
    for name, weight in trainable.items():
        embeds = id(weight) in embeddings
        decays = weight.ndim >= 2 and FACTORS not in name and not embeds
        below = _steps_below_head(name, depth, embeds=embeds or "embed" in name)
        groups.setdefault((below, decays), []).append(weight)
    made = [
        {
            "params": weights,
            "lr": options.learning_rate * options.layer_decay**below,
            "peak": options.learning_rate * options.layer_decay**below,
            "weight_decay": options.weight_decay if decays else 0.0,
        }
        for (below, decays), weights in groups.items()
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

    @torch.no_grad()
    def start_from(self, trainable: Mapping[str, Tensor]) -> None:
        for name, weight in self.weights.items():
            weight.copy_(trainable[name])

    @torch.no_grad()
    def update(self, trainable: Mapping[str, Tensor], step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.weights.values()), [trainable[name] for name in self.weights], 1.0 - decay)
