"""Whether the largest micro-batch fits into memory, found out before the first step and not hours later."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from burnish.engine.loop import Training
from burnish.engine.memory import free_bytes, is_out_of_memory, kept_for_backward
from burnish.engine.sampler import epoch_batches

MARGIN = 4  # times what is known to be kept: gradients on their way, and what other programs may take
WITH_EACH_WEIGHT = 4  # its gradient, two moments and its average


def surely_fits(training: Training) -> bool:
    """Whether the largest micro-batch takes so little of the free memory that it need not be rehearsed.

    Known from the longest of its rows: what that one keeps for its gradient, times the rows. Only where all
    memory is the machine's and a row can be computed alone. Changes nothing.
    """
    passes = training.passes
    coupled = any(isinstance(part, nn.BatchNorm2d) for part in passes.model.modules())  # wants more rows than one
    if passes.device.type != "cpu" or training.ranks.world > 1 or coupled or not passes.task.decomposable:
        return False
    largest = _largest_piece(training)
    row = _kept_by(max(largest, key=lambda row: passes.lengths[row]), training)
    learned = sum(weight.numel() * weight.element_size() for weight in training.trainable.values())
    return row is not None and MARGIN * (len(largest) * row + WITH_EACH_WEIGHT * learned) <= free_bytes()


def rehearse(training: Training) -> None:
    """Computes the largest micro-batch of the first pass and throws it away.

    Memory that does not suffice is dealt with as in a step. Playing that batch first instead would cost nothing, but
    a first step on the longest rows alone seemed to train worse. Changes nothing but the size of the micro-batch; all
    ranks call it.

    Raises:
        OutOfMemoryError: [engine/out-of-memory] when not even single rows fit.
    """
    largest = _largest_piece(training)
    random_state = torch.get_rng_state()
    training.model.train()
    with training.rehearsing():
        training.accumulate(largest)
    training.optimizer.zero_grad()
    torch.set_rng_state(random_state)
    training.learned.restore_buffers({})


def _kept_by(row: int, training: Training) -> int | None:
    """Bytes that a row keeps for its gradient; None when not even that much is there."""
    passes = training.passes
    random_state = torch.get_rng_state()
    passes.model.train()
    try:
        with passes.precision.compute(passes.device):
            return kept_for_backward(
                passes.model, lambda: passes.task.loss(passes.model, passes.lay_out([row], training.step))
            )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        torch.set_rng_state(random_state)
        training.learned.restore_buffers({})


def _largest_piece(training: Training) -> Sequence[int]:
    """The micro-batch of the first pass with the most places, those of padding included."""
    options, passes = training.options, training.passes
    pieces = (
        piece
        for batch in epoch_batches(
            training.row_lengths, batch_size=options.global_batch_size, seed=options.seed, epoch=0
        )
        for piece in passes.pieces(batch, training.faults.micro_batch_tokens)
    )
    return max(pieces, key=lambda piece: len(piece) * int(passes.lengths[piece].max()))
