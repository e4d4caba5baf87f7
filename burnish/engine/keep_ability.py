"""Keeping what a base can do while it learns something else: pulls towards the start.

They are exact: a pull is added once per step to the mean gradient, in float32, whatever the micro-batches were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from burnish.engine.layout import LayoutChoice
from burnish.engine.options import KeepAbilityOptions
from burnish.engine.precision import Precision
from burnish.types import Encoded, Task

FISHER_ROWS = 256  # that the Fisher information is measured on, evenly spread; each costs a pass back and forth


class Pull(Protocol):
    """One thing that learns and is held back: its penalty is 1/2 * sum(strength * departure^2), in nats."""

    def add_gradient(self, units: float) -> Tensor:
        """Adds `units` times the penalty's gradient to what is there; gives the penalty, () float32."""
        ...


@dataclass(frozen=True, slots=True)
class WeightPull:
    """Pulls a weight to where it began.

    Attributes:
        start: its value before the first step.
        strength: of the pull, for all of it or for each number.
    """

    weight: Tensor
    start: Tensor
    strength: Tensor | float

    @torch.no_grad()
    def add_gradient(self, units: float) -> Tensor:
        departure = self.weight.float() - self.start
        pull = departure * self.strength
        _add(self.weight, pull * units)
        return 0.5 * (pull * departure).sum()


@dataclass(frozen=True, slots=True)
class UpdatePull:
    """Pulls the update of a LoRA layer, scale * B @ A, to zero: the whole layer to where it began.

    Decaying A and B themselves would be another penalty: they can shrink while their product stays.

    Attributes:
        a: (rank, in); b: (out, rank).
        strength: of the pull, for all of it or for each weight of the layer, (out, in).
    """

    a: Tensor
    b: Tensor
    scale: float
    strength: Tensor | float

    @torch.no_grad()
    def add_gradient(self, units: float) -> Tensor:
        departure = (self.b.float() @ self.a.float()) * self.scale
        pull = departure * self.strength
        _add(self.b, pull @ self.a.float().T * (self.scale * units))
        _add(self.a, self.b.float().T @ pull * (self.scale * units))
        return 0.5 * (pull * departure).sum()


def _add(weight: Tensor, gradient: Tensor) -> None:
    weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)


def build_pulls(
    model: nn.Module,
    trainable: Mapping[str, Tensor],
    options: KeepAbilityOptions,
    *,
    task: Task,
    rows: Sequence[Encoded],
    layout: LayoutChoice,
    precision: Precision,
    device: torch.device,
) -> tuple[list[Pull], list[Tensor]]:
    """The pulls that the options ask for, and the Fisher information among them; the model is as it starts.

    l2_to_start   1/2 * strength * (w - w0)^2, for each weight         Li et al. 2018, L2-SP, arXiv:1802.01483, eq. 2
    ewc           the same times the weight's Fisher information       Kirkpatrick et al. 2017, arXiv:1612.00796, eq. 3

    Args:
        rows: that the Fisher information is measured on.
    """
    if not options.pulls:
        return [], []
    updates = list(_updates(model))
    inside = {id(part) for update in updates for part in (update.a, update.b)}
    plain = [weight for weight in trainable.values() if id(weight) not in inside]
    strengths: list[Tensor | float] = [options.l2_to_start] * (len(plain) + len(updates))
    fisher: list[Tensor] = []
    if options.ewc:
        weights = [*plain, *(update.weight for update in updates)]
        fisher = fisher_information(
            task, model, _spread(rows), weights, layout=layout, precision=precision, device=device
        )
        strengths = [options.l2_to_start + options.ewc * of_weight for of_weight in fisher]
    pulls: list[Pull] = [
        WeightPull(weight, weight.detach().float().clone(), strength)
        for weight, strength in zip(plain, strengths, strict=False)
    ]
    for update, strength in zip(updates, strengths[len(plain) :], strict=True):
        turned = strength.T if update.transposed and isinstance(strength, Tensor) else strength
        pulls.append(UpdatePull(update.a, update.b, update.scale, turned))
    return pulls, [strength for strength in strengths if isinstance(strength, Tensor)]


@dataclass(frozen=True, slots=True)
class _Update:
    """A LoRA layer: its factors, its scale, and the frozen weight beside it, turned in GPT-2's layers."""

    a: Tensor
    b: Tensor
    scale: float
    weight: Tensor
    transposed: bool


def _updates(model: nn.Module) -> Iterable[_Update]:
    from peft.tuners.lora import LoraLayer

    for part in model.modules():
        if isinstance(part, LoraLayer):
            for name, factor in part.lora_A.items():
                yield _Update(
                    factor.weight,
                    part.lora_B[name].weight,
                    float(part.scaling[name]),
                    part.get_base_layer().weight,
                    bool(getattr(part, "fan_in_fan_out", False)),
                )


def fisher_information(
    task: Task,
    model: nn.Module,
    rows: Sequence[Encoded],
    weights: Sequence[Tensor],
    *,
    layout: LayoutChoice,
    precision: Precision,
    device: torch.device,
) -> list[Tensor]:
    """Diagonal of the empirical Fisher information per unit of the loss (per token), shaped like each weight, float32.

    The squared gradient of each row's log-likelihood, one row at a time, summed over the rows and divided by their
    units. Squaring the gradient of a batch instead would give another number for every batch size. With it, ewc = 1
    weighs a token of the old rows as much as a token that is learned (the Laplace approximation of Kirkpatrick et al.).
    """
    asked = [weight.requires_grad for weight in weights]
    found = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    units = 0.0
    model.eval()
    for weight in weights:
        weight.requires_grad_(True)
    try:
        for index, row in enumerate(rows):
            batch = layout.lay_out([row], [index], device=device)
            with precision.compute(device):
                term = task.loss(model, batch)
            units += term.weight
            for total, gradient in zip(
                found, torch.autograd.grad(term.total, list(weights), allow_unused=True), strict=True
            ):
                if gradient is not None:
                    total.addcmul_(gradient.float(), gradient.float())
    finally:
        for weight, learns in zip(weights, asked, strict=True):
            weight.requires_grad_(learns)
    return [total / units for total in found]


def _spread(rows: Sequence[Encoded]) -> list[Encoded]:
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), FISHER_ROWS)).round().astype(int))
    return [rows[int(place)] for place in places]
