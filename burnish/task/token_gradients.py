"""Losses of tokens whose gradients are computed in the forward pass, while their logits are at hand.

The gradient of a token's loss with respect to its own hidden state needs nothing that comes later but a factor. So a
chunk's logits are computed once, and neither kept nor made again.

Shapes: R positions read, D width, V vocabulary, C positions of a chunk, P positions filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Logits = Callable[[Tensor], Tensor]  # (C, D) hidden states -> (C, V)
LARGE = 1_000.0  # a logit at which soft-capping shows; scaling shows at any
ALIKE = 1e-4  # of it, in float32
ROUNDED = 2e-2  # the same for weights in bf16
PRODUCT_BYTES = 2**27  # that the logits of some chunks may take, as they come from the product
IN_CACHE = 2**23  # bytes in float32 that a CPU takes softmax of at once: it passes over them six times
BLOCK = 4_096  # words of the head whose gradient is added up at once: 5 MB in bf16 for a width of 576
FILLED = 8  # rows come in multiples of it: for some other numbers of them, as 703, oneDNN takes longer
_PLAIN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def token_losses(hidden_RD: Tensor, targets_R: Tensor, logits_of: Logits, head: nn.Linear | None, chunk: int) -> Tensor:
    """-log p(target) of each token, (R,) float32 in nats, for a head that does not learn.

    Args:
        logits_of: what the model makes of hidden states.
        head: its last layer, where logits are this layer's output and nothing else; see `plain_head`.
        chunk: positions computed at once; changes memory, not the result.
    """
    losses_R: Tensor = _Losses.apply(hidden_RD, targets_R, logits_of, head, chunk)  # type: ignore[no-untyped-call]
    return losses_R


def summed_loss(
    hidden_RD: Tensor,
    targets_R: Tensor,
    logits_of: Logits,
    head: nn.Linear | None,
    learning: Sequence[Tensor],
    chunk: int,
) -> Tensor:
    """Sum of the tokens' losses, () float32 in nats, for a head with weights that learn."""
    total: Tensor = _Sum.apply(hidden_RD, targets_R, logits_of, head, chunk, *learning)  # type: ignore[no-untyped-call]
    return total


def plain_head(model: Any, logits_of: Logits) -> nn.Linear | None:
    """The model's last layer when its logits are the output of that layer alone, which two large states show.

    Families scale or cap logits in their own ways; those are computed through the model itself.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or head.bias is not None or not head.weight.is_floating_point():
        return None
    if model not in _PLAIN:
        _PLAIN[model] = _is_plain(head.weight, logits_of)
    return head if _PLAIN[model] else None


@torch.no_grad()
def _is_plain(weight_VD: Tensor, logits_of: Logits) -> bool:
    width = weight_VD.shape[1]
    with torch.autocast(weight_VD.device.type, enabled=False):
        states = torch.arange(2 * width, device=weight_VD.device).view(2, width).cos().to(weight_VD.dtype)
        most = float((states @ weight_VD.T).abs().max())
        states *= LARGE / max(most, 1e-30)
        difference = float((logits_of(states) - states @ weight_VD.T).abs().max())
    return difference <= (ALIKE if weight_VD.dtype == torch.float32 else ROUNDED) * LARGE


class _Losses(torch.autograd.Function):
    """Losses of tokens; each keeps the gradient of its own hidden state."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, logits_of: Logits, head: Any, chunk: int) -> Tensor:
        losses, gradient = _in_chunks(hidden, targets, logits_of, head, chunk, (), [])
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> Any:  # (R,)
        (gradient_RD,) = ctx.saved_tensors
        return gradient_RD * factors[0][:, None], None, None, None, None


class _Sum(torch.autograd.Function):
    """The sum of the losses; it keeps the gradients of the hidden states and of the head's weights."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, targets: Tensor, logits_of: Logits, head: Any, chunk: int, *learning: Tensor
    ) -> Tensor:
        only = head if head is not None and len(learning) == 1 and learning[0] is head.weight else None
        sums: list[Tensor | None] = [None] * len(learning)
        losses, gradient = _in_chunks(hidden, targets, logits_of, only, chunk, learning, sums)
        ctx.found = [gradient, *sums]
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> Any:  # ()
        found, ctx.found = ctx.found, None  # nobody else has them: the head's gradient is large to copy
        if factors[0].device.type != "cpu" or float(factors[0]) != 1.0:
            found = [each if each is None else each.mul_(factors[0]) for each in found]
        hidden, *weights = found
        return hidden, None, None, None, None, *weights


def _in_chunks(
    hidden_RD: Tensor,
    targets_R: Tensor,
    logits_of: Logits,
    head: nn.Linear | None,
    chunk: int,
    learning: Sequence[Tensor],
    sums: list[Tensor | None],
) -> tuple[Tensor, Tensor]:
    """(R,) losses and (R, D) gradients of the hidden states; those of `learning` are added to `sums`."""
    losses_R = torch.empty(len(targets_R), dtype=torch.float32, device=hidden_RD.device)
    gradient_RD = torch.empty_like(hidden_RD)
    if head is not None:
        device = hidden_RD.device.type
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_RD.dtype
        with torch.autocast(device, enabled=False):
            states_RD, weight_VD = hidden_RD.to(precision), head.weight.to(precision)
            _through_layer(states_RD, targets_R, weight_VD, chunk, losses_R, gradient_RD, sums)
        return losses_R, gradient_RD
    for start in range(0, len(targets_R), chunk):
        own = slice(start, start + chunk)
        with torch.enable_grad():
            states = hidden_RD[own].detach().requires_grad_()
            losses = F.cross_entropy(logits_of(states).float(), targets_R[own], reduction="none")
            found = torch.autograd.grad(losses.sum(), [states, *learning], allow_unused=True)
        losses_R[own], gradient_RD[own] = losses.detach(), found[0]
        for place, more in enumerate(found[1:]):
            _add(more, sums, place)
    return losses_R, gradient_RD


def _through_layer(
    states_RD: Tensor,
    targets_R: Tensor,
    weight_VD: Tensor,
    chunk: int,
    losses_R: Tensor,
    gradient_RD: Tensor,
    sums: list[Tensor | None],
) -> None:
    """The same for logits that are one matrix product, in buffers that all chunks share.

    The products run in the precision that states and weight have, everything between them in float32: the loss of a
    token is its own logit against the sum over all, and the gradient is softmax minus one at the target, which is
    computed apart because near one a difference of rounded numbers has no digits left.
    """
    logits = _products_at_once(states_RD, weight_VD, chunk)
    if states_RD.device.type == "cpu":
        chunk = min(chunk, max(1, IN_CACHE // (4 * len(weight_VD))))
    most = min(logits, len(targets_R))
    products = states_RD.new_empty((most + -most % FILLED, len(weight_VD)))
    shares = products.new_empty((min(chunk, len(products)), len(weight_VD)), dtype=torch.float32)
    for begin in range(0, len(targets_R), logits):
        targets_G1 = targets_R[begin : begin + logits, None]
        states_PD = _filled_up(states_RD[begin : begin + logits])
        logits_PV = products[: len(states_PD)]
        torch.mm(states_PD, weight_VD.T, out=logits_PV)
        for start in range(0, len(targets_G1), chunk):
            target_C1 = targets_G1[start : start + chunk]
            logits_CV = logits_PV[start : start + len(target_C1)]
            share_CV = shares[: len(logits_CV)].copy_(logits_CV)
            top_C1 = logits_CV.amax(dim=-1, keepdim=True).float()
            own_C1 = share_CV.gather(1, target_C1) - top_C1
            total_C1 = share_CV.sub_(top_C1).exp_().sum(dim=-1, keepdim=True)
            log_C1 = own_C1 - total_C1.log()
            losses_R[begin + start :][: len(log_C1)] = -log_C1[:, 0]
            share_CV.div_(total_C1).scatter_(1, target_C1, log_C1.expm1())
            logits_CV.copy_(share_CV)
        gradient_RD[begin : begin + logits] = (logits_PV @ weight_VD)[: len(targets_G1)]
        if sums:
            sums[0] = _with_products(sums[0], logits_PV, states_PD)


def _filled_up(states_GD: Tensor) -> Tensor:
    """(P, D): zeros behind the states, whose logits and gradients are zeros."""
    more = -len(states_GD) % FILLED
    return F.pad(states_GD, (0, 0, 0, more)) if more else states_GD


def _products_at_once(states_RD: Tensor, weight_VD: Tensor, chunk: int) -> int:
    """Positions whose products are in memory at once, whole chunks: a large product is a fast one."""
    rows = PRODUCT_BYTES // (len(weight_VD) * states_RD.element_size())
    return max(chunk, rows // chunk * chunk)


def _with_products(total_VD: Tensor | None, gradient_PV: Tensor, states_PD: Tensor) -> Tensor:
    """The head's gradient with that of some positions, float32; never all of it twice, in two precisions."""
    begun = total_VD is not None
    if total_VD is None:
        total_VD = states_PD.new_empty((gradient_PV.shape[1], states_PD.shape[1]), dtype=torch.float32)
    for start in range(0, len(total_VD), BLOCK):
        own, more = total_VD[start : start + BLOCK], gradient_PV[:, start : start + BLOCK].T @ states_PD
        own.add_(more) if begun else own.copy_(more)
    return total_VD


def _add(more: Tensor | None, sums: list[Tensor | None], place: int) -> None:
    """Adds a gradient to the float32 sum at a place; a weight that no chunk reads has none."""
    if more is not None:
        total = sums[place]
        sums[place] = more.float() if total is None else total.add_(more)
