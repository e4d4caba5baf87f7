"""The weights that learn as bf16 numbers, for the passes of a step; the optimizer and everybody else see float32.

Autocast rounds each weight anew in every pass, and hidden states whenever a matrix meets them. With a bf16 copy of the
weights hidden states stay bf16 from the embeddings to the head, and nothing is rounded in between. Gradients go to the
float32 weights and are added up there in float32. Weights, copies and gradients lie side by side, in one order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from burnish.engine.flat import Flat
from burnish.engine.memory import is_out_of_memory
from burnish.engine.passes import Passes

# bf16 keeps 8 bits, 0.4 %: after six layers losses of MiniLM differ by 1e-3, a layer that breaks differs by nats
TOLERANCE = 0.02  # of the loss per unit, or of one nat where it is smaller
FAR = 0.05  # of the largest number that a model gives; the same reason
_OF_IMAGES = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm)


class Bf16Weights:
    """bf16 copies of the weights of matrices and norms below the head.

    Tables of embeddings stay float32: the gradient of a token that every row begins with is a sum of thousands, which
    bf16 would lose. What they give is rounded once, and their gradient added up where it is kept: autograd would make
    one as large as the table in every pass, of which all but the words of the pass are zeros.

    Args:
        model: with the method attached.
        trainable: weights that learn, by name; those that one rule moves one behind the other.

    Attributes:
        masters: float32 weights that have a copy, in the order of `trainable`; their numbers are `values`.
        gradients: room for their gradients.
    """

    def __init__(self, model: nn.Module, trainable: Mapping[str, Tensor]) -> None:
        core: Any = getattr(model, "core", None)
        parts = list(core.modules()) if isinstance(core, nn.Module) else []
        self.tables = [part for part in parts if isinstance(part, nn.Embedding)]
        learn = {id(weight) for weight in trainable.values()} - {id(table.weight) for table in self.tables}
        self.places: list[tuple[nn.Module, str, nn.Parameter]] = []
        for part in parts:
            if isinstance(part, _OF_IMAGES):
                continue  # convolutions round for themselves, batch norms keep float32 statistics beside their weights
            for name, weight in part.named_parameters(recurse=False):
                if id(weight) in learn and weight.dtype == torch.float32 and name not in getattr(part, "exact", ()):
                    self.places.append((part, name, weight))
        found = {id(weight) for _, _, weight in self.places}
        self.masters: list[Tensor] = [weight for weight in trainable.values() if id(weight) in found]
        self._copy_of: dict[int, nn.Parameter] = {}
        if not self.masters:
            return
        self.values, self.gradients = Flat(self.masters), Flat(self.masters)
        self._narrow = Flat(self.masters, torch.bfloat16)
        rooms = zip(self.masters, self.values.parts, self.gradients.parts, self._narrow.parts, strict=True)
        for master, value, gradient, narrow in rooms:
            master.data = value.copy_(master.data)
            self._copy_of[id(master)] = _copy(master, narrow, gradient)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """In the block, the model has the copies; their gradients go to the weights they are copies of."""
        self._narrow.buffer.copy_(self.values.buffer)
        hooks = [table.register_forward_hook(_rounded) for table in self.tables]
        plain = [table for table in self.tables if _is_plain(table)]
        for table in plain:
            table.forward = partial(_looked_up, table)  # type: ignore[method-assign]
        for part, name, master in self.places:
            part._parameters[name] = self._copy_of[id(master)]
        try:
            yield
        finally:
            for part, name, master in self.places:
                part._parameters[name] = master
            for hook in hooks:
                hook.remove()
            for table in plain:
                del table.forward
            for copy in self._copy_of.values():
                copy.grad = None  # of a pass that broke off


def _copy(master: Tensor, narrow: Tensor, place: Tensor) -> nn.Parameter:
    """A copy in `narrow`, whose gradients go to the master's, which lies in `place`."""
    copy = nn.Parameter(narrow)

    def hand_over(_: Tensor) -> None:
        gradient = copy.grad
        if gradient is None:
            return
        copy.grad = None
        if master.grad is None:
            master.grad = place.copy_(gradient)
        else:
            master.grad.add_(gradient)

    copy.register_post_accumulate_grad_hook(hand_over)  # type: ignore[no-untyped-call]
    return copy


def _is_plain(table: nn.Embedding) -> bool:
    """Whether it looks words up and does nothing else, and learns."""
    changed = table.max_norm is not None or table.scale_grad_by_freq or table.sparse
    return type(table) is nn.Embedding and table.weight.requires_grad and not changed and "forward" not in vars(table)


def _looked_up(table: nn.Embedding, ids: Tensor) -> Tensor:
    asks = torch.empty(0, device=ids.device, requires_grad=True)  # the table itself would wait here for its gradient
    found: Tensor = _Looked.apply(asks, table.weight.detach(), ids, table)  # type: ignore[no-untyped-call]
    return found


class _Looked(torch.autograd.Function):
    """Rows of a table; their gradients are added to the table's own, where it lies."""

    @staticmethod
    def forward(ctx: Any, _: Tensor, weight_VD: Tensor, ids: Tensor, table: nn.Embedding) -> Tensor:
        ctx.ids, ctx.table = ids, table
        return nn.functional.embedding(ids, weight_VD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        weight, padding = ctx.table.weight, ctx.table.padding_idx
        ids, more = ctx.ids.flatten(), gradients[0].flatten(end_dim=-2)
        if padding is not None:
            used = ids != padding
            ids, more = ids[used], more[used]
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, ids, more)
        return None, None, None, None


def _rounded(_: nn.Module, __: Any, states: Tensor) -> Tensor:
    return states.to(torch.bfloat16)


def bf16_weights(
    model: nn.Module, trainable: Mapping[str, Tensor], passes: Passes, *, max_tokens: int
) -> tuple[Bf16Weights | None, str]:
    """The copies where they pay and give the loss that autocast gives; and a sentence for the run's record, if any."""
    if passes.precision.name != "bf16" or passes.device.type != "cpu":
        return None, ""
    copies = Bf16Weights(model, trainable)
    if not copies.places:
        return None, "rounded in each product, no matrix learns"
    try:
        plain = passes.probed_loss(max_tokens)
        with copies.inside():
            fast = passes.probed_loss(max_tokens, backward=True)
    except (RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return None, f"rounded in each product, copies were refused ({type(error).__name__})"
    finally:
        for weight in trainable.values():
            weight.grad = None
    if not abs(fast - plain) <= TOLERANCE * max(1.0, abs(plain)):
        return None, f"rounded in each product, copies give a loss of {fast:.3f}, not {plain:.3f}"
    return copies, f"bf16 copies, loss {fast:.4f} instead of {plain:.4f} on real rows"


@torch.no_grad()
def held_in_bf16(model: nn.Module, compute: Callable[[], Tensor]) -> bool:
    """Holds the weights of a model that has learned in bf16 from now on, where it goes on to give the same.

    Autocast would round them anew for each batch, and hidden states in between. Whether they are held is returned.

    Args:
        compute: what the model gives for some rows.
    """
    core: Any = getattr(model, "core", None)
    parts = list(core.modules()) if isinstance(core, nn.Module) else []
    if not parts or any(isinstance(part, _OF_IMAGES) for part in parts):
        return False
    before = compute()
    places = [(part, name, weight) for part in parts for name, weight in part.named_parameters(recurse=False)]
    places = [place for place in places if place[2].dtype == torch.float32]
    narrow = {id(weight): nn.Parameter(weight.to(torch.bfloat16), requires_grad=False) for _, _, weight in places}
    for part, name, weight in places:
        part._parameters[name] = narrow[id(weight)]
    held = False
    try:
        held = float((compute() - before).abs().max()) <= FAR * float(before.abs().max())
    except (RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
    finally:
        if not held:
            for part, name, weight in places:
                part._parameters[name] = weight
    return held
