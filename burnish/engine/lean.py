"""What a training on a GPU with frozen weights holds in fewer bytes and computes in fewer passes over memory.

Hidden states are as wide as the weights they meet: beside embeddings and norms in float32 they stay float32, and every
norm and every sum moves twice the bytes. Frozen weights whose numbers bf16 holds exactly, as those of most published
bases are, are bf16 inside the block; with them the states are bf16 from the embeddings to the head, which rounds what
is carried from layer to layer. Norms over the root of the mean square, six passes over memory where transformers writes
them out, are one kernel of torch's.

Nothing of this is believed: each kind of norm is compared with its own forward, and the loss of some rows with the
loss before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.engine.memory import is_out_of_memory
from burnish.engine.passes import Passes

DEVICES = ("cuda",)  # where memory is what norms and sums wait for
TOLERANCE = 0.02  # of the loss per unit, or of one nat where it is smaller: as for bf16 copies of weights that learn
ROUNDED = 0.02  # of a norm's largest number, in bf16
EXACT = 1e-5  # the same in float32


@contextlib.contextmanager
def held_lean(model: nn.Module, passes: Passes, *, max_tokens: int) -> Iterator[str]:
    """Inside the block frozen weights are bf16 and norms one kernel, where both change nothing.

    Yields:
        What was done, for the run's record; empty where nothing was.
    """
    if passes.device.type not in DEVICES or passes.precision.name != "bf16":
        yield ""
        return
    with contextlib.ExitStack() as changes:
        try:
            plain = passes.probed_loss(max_tokens, whole=True)
            held = changes.enter_context(_narrow(model))
            norms = changes.enter_context(_norms(model))
            lean = passes.probed_loss(max_tokens, whole=True)
            said = ""
            if held or norms:
                said = f"{held} frozen weights held in bf16, {norms} norms in one kernel each, loss {lean:.4f}"
            if not abs(lean - plain) <= TOLERANCE * max(1.0, abs(plain)):
                changes.close()
                said = f"frozen weights and norms stay as they are: bf16 gives a loss of {lean:.4f}, not {plain:.4f}"
        except (RuntimeError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            changes.close()
            said = f"frozen weights and norms stay as they are: bf16 was refused ({type(error).__name__})"
        yield said


@contextlib.contextmanager
def _narrow(model: nn.Module) -> Iterator[int]:
    """Frozen weights in float32 whose numbers are bf16's are bf16 inside the block; gives how many."""
    narrowed: list[nn.Parameter] = []
    try:
        for weight in model.parameters():
            if weight.requires_grad or weight.dtype != torch.float32:
                continue
            narrow = weight.detach().bfloat16()
            if torch.equal(narrow.float(), weight):
                weight.data = narrow
                narrowed.append(weight)
        yield len(narrowed)
    finally:
        for weight in narrowed:
            weight.data = weight.data.float()


@contextlib.contextmanager
def _norms(model: nn.Module) -> Iterator[int]:
    """Frozen norms over the root of the mean square are torch's own inside the block, where those give the same."""
    known: dict[Hashable, bool] = {}
    changed: list[Any] = []
    try:
        for part in model.modules():
            eps = getattr(part, "variance_epsilon", getattr(part, "eps", None))
            weight = getattr(part, "weight", None)
            if not type(part).__name__.endswith("RMSNorm") or not isinstance(eps, float) or weight is None:
                continue
            if weight.requires_grad:
                continue
            kind = (type(part), eps, weight.shape, weight.dtype)
            if kind not in known:
                known[kind] = _same(part, eps)
            if known[kind]:
                part.forward = _one_kernel(part, eps)
                changed.append(part)
        yield len(changed)
    finally:
        for part in changed:
            part.__dict__.pop("forward", None)


def _one_kernel(part: Any, eps: float) -> Callable[[Tensor], Tensor]:
    whole = part.forward

    def forward(states: Tensor) -> Tensor:
        weight = part.weight
        if weight.dtype != states.dtype:
            written_out: Tensor = whole(states)
            return written_out
        with torch.autocast(states.device.type, enabled=False):
            return F.rms_norm(states, weight.shape, weight, eps)

    return forward


def _same(part: Any, eps: float) -> bool:
    """Whether a norm and its gradient are torch's on a few states."""
    weight: Tensor = part.weight.detach()
    states = torch.arange(3 * weight.numel(), device=weight.device, dtype=torch.float32).sin().view(3, -1)
    found = []
    for way in (part.forward, _one_kernel(part, eps)):
        given = states.to(weight.dtype).requires_grad_()
        with torch.enable_grad():
            output = way(given)
            (gradient,) = torch.autograd.grad(output.float().sin().sum(), given)
        found.append((output.detach().float(), gradient.float()))
    room = EXACT if weight.dtype == torch.float32 else ROUNDED
    return all(
        float((one - other).abs().max()) <= room * max(1.0, float(one.abs().max()))
        for one, other in zip(*found, strict=True)
    )
