"""A self-test on real rows before a training starts: what every number of the run relies on, in about five passes.

The micro-batch, the order of the rows, their neighbours and the padding must not change the loss or its gradient, and
the gradient must reach the weights that learn and no others. A task, a loss or a base that breaks one of these trains
without complaint and ends in numbers that mean nothing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from burnish.engine.distributed import Ranks
from burnish.engine.gradient_cache import compare_in_pieces
from burnish.engine.layout import LayoutChoice, RowBatch
from burnish.engine.precision import Precision
from burnish.engine.probe import FIRST, probe_rows
from burnish.engine.segments import own_attention
from burnish.engine.tree import begin_alike, tree_of
from burnish.errors import SelfTestError
from burnish.model.quantized import is_packed
from burnish.types import Comparing, Encoded, LossTerm, Method, Task

ROWS = 4
# float32 rounds to 6e-8, and sums over tokens, width and layers come in another order: 4e-7 for the loss and 2e-5 for
# a weight's gradient were the most seen on MiniLM. Rows that see each other and means of means show from 1e-2 on.
LOSS_TOLERANCE = 1e-4  # of the loss per unit, or of one nat where it is smaller
GRADIENT_TOLERANCE = 1e-3  # of the length of each weight's gradient
# Where weights are kept in bf16, or packed and computed with in it, states keep 8 bits, 0.4 %, in every layer.
LOSS_IN_BF16, GRADIENT_IN_BF16 = 1e-2, 0.25
ROUNDING = 1e-4  # of the whole gradient: shorter ones count as this long, like a key's bias, which softmax cannot see


@dataclass(frozen=True, slots=True)
class Measured:
    """What some rows give: loss per unit, units, and the gradient of the loss per unit for each weight that got one."""

    loss: float
    weight: float
    gradient: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Another way to compute the same rows, and what is wrong when it gives something else."""

    how: str
    pieces: Sequence[Sequence[Encoded]]
    padded: bool
    hint: str


def check_invariants(
    *,
    task: Task,
    method: Method,
    model: nn.Module,
    rows: Sequence[Encoded],
    layout: LayoutChoice,
    device: torch.device,
    max_tokens: int,
) -> str:
    """Computes up to four of `rows` in several arrangements and compares; gives one sentence for the run's record.

    In evaluation mode and float32; draws no random numbers, leaves no gradients and the model in its mode.

    Args:
        rows: encoded training rows; some of different length are taken.
        layout: chosen for the model, with the method attached.
        max_tokens: computed at once, as in training.

    Raises:
        SelfTestError: [engine/self-test] when an invariant does not hold.

    Cost: five forward and backward passes over the rows; memory of one more gradient.
    """
    encoder = getattr(model, "encoder", model)
    probe = _rows_of_test(rows, layout, getattr(encoder, "config", None), max_tokens)
    trainable = dict(method.trainable(model))
    _require_these_alone_learn(model, trainable, method)
    training = model.training
    model.eval()
    try:
        with _leaves_that_run(model) as ran:
            whole = _measure(task, model, trainable, [probe], layout, device)
        _require_sound(whole, probe, task)
        _require_gradients(whole, {name for name, weight in trainable.items() if id(weight) in ran}, method)
        ways, worst = [], (0.0, 0.0)
        for other in _arrangements(probe, layout, task):
            there = replace(layout, padded=other.padded)
            found = _measure(task, model, trainable, other.pieces, there, device)
            difference = _require_same(whole, found, other, task, len(probe), room=_room(model, device))
            worst = max(worst[0], difference[0]), max(worst[1], difference[1])
            ways.append(other.how)
    finally:
        model.train(training)
        model.zero_grad(set_to_none=True)
    lengths = f"{len(probe)} rows of {probe[0].length} to {probe[-1].length} tokens"
    return (
        f"self-test: {lengths} give the same {', '.join(ways)}; largest difference {worst[0]:.1e} of the loss, "
        f"{worst[1]:.1e} of the gradient"
    )


def _rows_of_test(rows: Sequence[Encoded], layout: LayoutChoice, config: Any, max_tokens: int) -> list[Encoded]:
    """Some rows of different length, as many as may be computed at once; two that share a beginning among them where
    rows of this training do, however long they are."""
    probe, alike = probe_rows(rows, ROWS, config), list[Encoded]()
    if layout.across and tree_of(probe, across=True) is None:
        alike = begin_alike(rows[:FIRST])
        probe = probe[: ROWS - len(alike)]
    room = max_tokens - sum(row.length for row in alike)
    while len(probe) + len(alike) > max(1, len(alike)) and sum(row.length for row in probe) > room:
        probe.pop()
    return sorted(probe + alike, key=lambda row: row.length)


def _arrangements(rows: Sequence[Encoded], layout: LayoutChoice, task: Task) -> Iterator[Arrangement]:
    reverse = list(reversed(rows))
    order = "the loss and the model must not depend on the order of the rows"
    yield Arrangement("in reverse order", [reverse], layout.padded, order)
    pairs = [reverse[i : i + 2] for i in range(0, len(reverse), 2)]
    if isinstance(task, Comparing):
        vectors = "represent must read each row for itself, and loss_of nothing but what represent gave"
        yield Arrangement("compared in pieces", pairs, layout.padded, vectors)
    elif task.decomposable:
        alone = (
            "the loss of a batch must be the sum of the losses of its rows, each computed from that row alone; "
            "a task that compares rows says decomposable = False"
        )
        yield Arrangement("one by one", [[row] for row in rows], layout.padded, alone)
        yield Arrangement("two by two", pairs, layout.padded, alone)
    if not layout.padded:
        yield Arrangement("padded", [rows], True, "the model must read position ids and the attention it is given")


def _measure(
    task: Task,
    model: nn.Module,
    trainable: Mapping[str, Tensor],
    pieces: Sequence[Sequence[Encoded]],
    layout: LayoutChoice,
    device: torch.device,
) -> Measured:
    """Forward and backward over all pieces, then one division, as in a step of the training."""
    model.zero_grad(set_to_none=True)
    total, weight = 0.0, 0.0
    batches = [layout.lay_out(piece, range(len(piece)), device=device) for piece in pieces]
    with own_attention(model) if layout.padded else contextlib.nullcontext():
        for term in _terms(task, model, batches, device):
            total += float(term.total.detach())
            weight += term.weight
    gradient = {name: w.grad.div_(weight) for name, w in trainable.items() if w.grad is not None}
    return Measured(total / weight, weight, gradient)


def _terms(task: Task, model: nn.Module, batches: Sequence[RowBatch], device: torch.device) -> Iterator[LossTerm]:
    """The loss of each batch, or of several compared with each other; its gradient is in the weights."""
    if isinstance(task, Comparing) and len(batches) > 1:
        rows = sum(batch.row_count for batch in batches)
        yield compare_in_pieces(
            task, model, batches, rows=rows, precision=Precision("fp32", ""), device=device, ranks=Ranks()
        )
        return
    for batch in batches:
        term = task.loss(model, batch)
        if not term.total.requires_grad:
            raise _broken("the loss has no gradient", task.name, "compute it from the model's output with torch")
        term.total.backward()  # type: ignore[no-untyped-call]
        yield term


@contextlib.contextmanager
def _leaves_that_run(model: nn.Module) -> Iterator[set[int]]:
    """Collects the ids of all weights whose own module, one without parts, runs inside the block."""
    ran: set[int] = set()

    def note(part: nn.Module, *_: Any) -> None:
        ran.update(id(weight) for weight in part.parameters())

    leaves = [part for part in model.modules() if not any(part.children())]
    hooks = [part.register_forward_hook(note) for part in leaves]
    try:
        yield ran
    finally:
        for hook in hooks:
            hook.remove()


def _require_these_alone_learn(model: nn.Module, trainable: Mapping[str, Tensor], method: Method) -> None:
    named = {id(weight) for weight in trainable.values()}
    loose = [name for name, weight in model.named_parameters() if weight.requires_grad and id(weight) not in named]
    frozen = [name for name, weight in trainable.items() if not weight.requires_grad]
    if loose or frozen:
        what = "would get a gradient without learning" if loose else "should learn and asks for no gradient"
        hint = "trainable() must name all weights, and only those, that attach() left with requires_grad"
        raise _broken(f"{_some(loose or frozen)} {what}", method.name, hint)


def _require_gradients(whole: Measured, read: set[str], method: Method) -> None:
    cut_off = sorted(read - whole.gradient.keys())
    if cut_off:
        hint = "the way from these weights to the loss is cut: look for detach, no_grad or inference_mode"
        raise _broken(f"no gradient reaches {_some(cut_off)}", method.name, hint)


def _require_sound(whole: Measured, rows: Sequence[Encoded], task: Task) -> None:
    if not (math.isfinite(whole.loss) and all(bool(torch.isfinite(g).all()) for g in whole.gradient.values())):
        hint = "look at the base and at these rows: nothing can be learned from here"
        raise _broken(f"loss {whole.loss} or its gradient is not finite before the first step", task.name, hint)
    units = sum(row.weight for row in rows)
    if not math.isclose(whole.weight, units, rel_tol=1e-6):
        hint = "LossTerm.weight is the sum of the rows' Encoded.weight"
        raise _broken(f"the loss counts {whole.weight:g} units, its rows hold {units:g}", task.name, hint)


def _room(model: nn.Module, device: torch.device) -> tuple[float, float]:
    """Tolerances of the loss and of gradients, for the numbers that the model computes with."""
    packed = device.type == "cuda" and any(is_packed(weight) for weight in model.parameters())
    if packed or any(weight.dtype == torch.bfloat16 for weight in model.parameters()):
        return LOSS_IN_BF16, GRADIENT_IN_BF16
    return LOSS_TOLERANCE, GRADIENT_TOLERANCE


def _require_same(
    whole: Measured, found: Measured, other: Arrangement, task: Task, rows: int, *, room: tuple[float, float]
) -> tuple[float, float]:
    """Relative differences of loss and gradient, both within their tolerance."""
    loss = abs(found.loss - whole.loss) / max(abs(whole.loss), 1.0)
    if not loss <= room[0]:
        numbers = f"{whole.loss:.6g} and {found.loss:.6g} per unit"
        raise _broken(f"{rows} rows at once and {other.how} give different losses, {numbers}", task.name, other.hint)
    name, gradient = _largest_difference(whole.gradient, found.gradient)
    # Near a loss of zero the gradient is a difference of almost equal numbers and keeps fewer digits.
    if not gradient <= room[1] * max(1.0, 0.01 / max(abs(whole.loss), 1e-9)):
        numbers = f"{gradient:.1e} of that of {name}"
        raise _broken(
            f"{rows} rows at once and {other.how} give different gradients, by {numbers}", task.name, other.hint
        )
    return loss, gradient


def _largest_difference(whole: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> tuple[str, float]:
    """The weight whose gradient differs most, and by which share of its length; `found` is used up."""
    lengths = {name: float(gradient.norm()) for name, gradient in whole.items()}
    least = ROUNDING * math.hypot(*lengths.values())
    shares = {
        name: float(found[name].sub_(gradient).norm()) / max(lengths[name], least, 1e-30)  # in place: memory is slow
        for name, gradient in whole.items()
    }
    name = max(shares, key=shares.__getitem__)
    return name, shares[name]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _broken(message: str, where: str, hint: str) -> SelfTestError:
    return SelfTestError("engine/self-test", f"the self-test failed: {message}", where=where, hint=hint)
