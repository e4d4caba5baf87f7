"""Norms over the root of the mean square (Zhang & Sennrich 2019, arXiv:1910.07467) in fewer passes over memory.

transformers writes them out: six operations, each with a tensor of its own that is kept for the gradient. Here they are
one: torch's kernel on a GPU, on a CPU the few passes that the mathematics needs, in float32 between a rounded input and
a rounded output. Each kind of norm is compared with its own forward before it is replaced.

Shapes: T tokens (any number of axes), D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROUNDED = 0.02  # of a norm's largest number, in bf16
EXACT = 1e-5  # the same in float32


def norms_of(model: nn.Module) -> list[tuple[Any, float]]:
    """Parts that look like such norms, and what each adds to the mean square."""
    found = []
    for part in model.modules():
        eps = getattr(part, "variance_epsilon", getattr(part, "eps", None))
        weight = getattr(part, "weight", None)
        if type(part).__name__.endswith("RMSNorm") and isinstance(eps, float) and weight is not None:
            found.append((part, eps))
    return found


@contextlib.contextmanager
def lean_norms(model: nn.Module) -> Iterator[int]:
    """Inside the block norms are computed in one operation where that gives what they give; gives how many."""
    known: dict[Hashable, bool] = {}
    changed: list[Any] = []
    try:
        for part, eps in norms_of(model):
            kind = (type(part), eps, part.weight.shape, part.weight.dtype)
            if kind not in known:
                known[kind] = _same(part, eps)
            if known[kind]:
                part.forward = _one_operation(part, eps)
                changed.append(part)
        yield len(changed)
    finally:
        for part in changed:
            part.__dict__.pop("forward", None)


def _one_operation(part: Any, eps: float) -> Callable[[Tensor], Tensor]:
    whole = part.forward

    def forward(states: Tensor) -> Tensor:
        weight, kind = part.weight, states.device.type
        rounds = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
        if kind == "cpu" and (rounds or weight.dtype == states.dtype == torch.bfloat16):
            normed: Tensor = _Norm.apply(states, weight, eps)  # type: ignore[no-untyped-call]
            return normed
        if kind == "cpu" or weight.dtype != states.dtype:
            written_out: Tensor = whole(states)
            return written_out
        with torch.autocast(kind, enabled=False):
            return F.rms_norm(states, weight.shape, weight, eps)

    return forward


class _Norm(torch.autograd.Function):
    """states (T, D) and weight (D,) of float32 or bf16 to (T, D) bf16."""

    @staticmethod
    def forward(ctx: Any, states_TD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        wide_TD = states_TD.to(torch.float32, copy=True)
        length_T1 = torch.linalg.vector_norm(wide_TD, dim=-1, keepdim=True)
        factor_T1 = length_T1.square_().div_(states_TD.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(states_TD, weight_D, factor_T1)
        return wide_TD.mul_(factor_T1).mul_(weight_D.float()).bfloat16()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # (T, D)
        states_TD, weight_D, factor_T1 = ctx.saved_tensors
        normed_TD = states_TD.to(torch.float32, copy=True).mul_(factor_T1)
        wide_TD, of_weight = gradients[0].to(torch.float32, copy=True), None
        if ctx.needs_input_grad[1]:
            of_weight = (wide_TD * normed_TD).flatten(end_dim=-2).sum(0).to(weight_D.dtype)
        wide_TD.mul_(weight_D.float())
        share_T1 = torch.linalg.vecdot(wide_TD, normed_TD)[..., None].div_(-states_TD.shape[-1])
        return wide_TD.addcmul_(normed_TD, share_T1).mul_(factor_T1).to(states_TD.dtype), of_weight, None


def _same(part: Any, eps: float) -> bool:
    """Whether a norm and its gradients are the same in one operation, on a few states."""
    kind = part.weight.device.type
    states = torch.arange(3 * part.weight.numel(), device=part.weight.device, dtype=torch.float32).sin().view(3, -1)
    found, room = [], EXACT
    for way in (part.forward, _one_operation(part, eps)):
        given = states.to(part.weight.dtype).requires_grad_()
        learned = [given, *([part.weight] if part.weight.requires_grad else [])]
        with torch.enable_grad(), torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cpu"):
            output = way(given)
            gradients = torch.autograd.grad(output.float().sin().sum(), learned)
        room = room if output.dtype == torch.float32 else ROUNDED
        found.append([each.detach().float() for each in (output, *gradients)])
    return all(
        float((one - other).abs().max()) <= room * max(1.0, float(one.abs().max()))
        for one, other in zip(*found, strict=True)
    )
