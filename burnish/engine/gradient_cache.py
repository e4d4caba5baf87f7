"""A loss that compares all rows of a step, in the memory of one piece of them.

Every piece is embedded without a gradient; the loss of all vectors together gives the gradient of each vector; then
every piece is embedded again and its vectors' gradients go on into the weights. By the chain rule that is the gradient
of the whole step, so the rows of a step are compared with all others however small the pieces are. Dropout belongs to
a row and a step and is therefore the same in both passes; what else is drawn comes from a generator that is put back.

Source: Gao et al. 2021, arXiv:2101.06983 (GradCache).
Cost: a second forward pass when there is more than one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from burnish.engine.distributed import Ranks
from burnish.engine.layout import RowBatch
from burnish.engine.memory import is_out_of_memory
from burnish.engine.precision import Precision
from burnish.types import Comparing, LossTerm


def compare_in_pieces(
    task: Comparing,
    model: nn.Module,
    pieces: Sequence[RowBatch],
    *,
    rows: int,
    precision: Precision,
    device: torch.device,
    ranks: Ranks,
) -> LossTerm:
    """The loss of all rows of a step; its gradient is added to the weights.

    Args:
        pieces: this rank's rows in order.
        rows: of the step on all ranks together.

    Raises:
        torch.OutOfMemoryError: on all ranks, when memory ended on one before the rows could be compared.
    """

    def represented(piece: RowBatch) -> Tensor:
        with precision.compute(device):
            return task.represent(model, piece)

    if len(pieces) == 1 and ranks.world == 1:
        term = task.loss_of(represented(pieces[0]), pieces[0].targets)
        _backward(term.total)
        return term
    states, vectors = _first_pass(pieces, represented, device, ranks)
    after = _drawn(device)
    whole = ranks.joined(vectors, rows, device).requires_grad_()
    term = task.loss_of(whole, ranks.joined([piece.targets for piece in pieces], rows, device))
    _backward(term.total)
    assert whole.grad is not None
    gradients = torch.split(whole.grad[ranks.rank :: ranks.world], [piece.row_count for piece in pieces])
    for piece, state, gradient in zip(pieces, states, gradients, strict=True):
        _draw_again(state, device)
        _backward(represented(piece), gradient)
    _draw_again(after, device)
    return term


def _first_pass(
    pieces: Sequence[RowBatch], represented: Callable[[RowBatch], Tensor], device: torch.device, ranks: Ranks
) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Before each piece the state of what draws, and its vectors; a rank without memory tells the others."""
    states, vectors, full = [], [], ""
    try:
        with torch.no_grad():
            for piece in pieces:
                states.append(_drawn(device))
                vectors.append(represented(piece))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        full = str(error) or type(error).__name__  # the error itself would keep the vectors' pass alive
    if ranks.largest(float(bool(full))):
        raise torch.OutOfMemoryError(full or "another process has no memory left")
    return states, vectors


def _backward(value: Tensor, gradient: Tensor | None = None) -> None:
    value.backward(gradient)  # type: ignore[no-untyped-call]


def _drawn(device: torch.device) -> list[Tensor]:
    """The state of torch's generators: what is not drawn per row comes from them."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _draw_again(state: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
