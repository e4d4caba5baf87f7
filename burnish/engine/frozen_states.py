"""What the layers below the lowest one that learns give for each row, computed once instead of in every pass.

Where updates stand in the upper layers only, nothing below them changes. With `training.keep_frozen_states` the states
that enter the lowest layer that learns are computed before the first step and kept in a file; a step then begins there.
Batches are cut by the lengths of the rows alone, so that a run that goes on computes the same states again.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from burnish.engine.dropout import drops_out
from burnish.engine.grids import on_device
from burnish.engine.layout import LaidOut, LayoutChoice
from burnish.engine.passes import Passes
from burnish.engine.predict import each_batch
from burnish.engine.sampler import Numbers
from burnish.engine.upper_layers import Below, stack_of
from burnish.model.prompt import prompt_ids
from burnish.storage.durable import require_space, reserve
from burnish.types import Encoded, Progress

COMPARED = 4  # rows
TOLERANCE = 0.02  # of the loss per unit, or of one nat where it is smaller: as for bf16 copies of weights


class FrozenStates:
    """States of rows in a file, by the rows' numbers.

    Args:
        path: of the file, (T, D).
        lengths: (N,) tokens of each row, in the order of the file.
        layers: that gave them.
        dtype: bf16, or float32 where that is what is multiplied.
    """

    def __init__(
        self, path: Path, lengths: Numbers, width: int, *, layers: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.layers, self._dtype, self._device = layers, dtype, device
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        shape = (int(self._starts[-1]), width)
        reserve(path, dtype.itemsize * shape[0] * width)
        self._states_TD = np.memmap(path, np.float32 if dtype == torch.float32 else np.int16, "r+", shape=shape)

    def put(self, row: int, states_TD: Tensor) -> None:
        """Keeps those of one row."""
        own = self._states_TD[self._starts[row] : self._starts[row + 1]]
        kept = states_TD.to("cpu", self._dtype)
        own[:] = (kept if self._dtype == torch.float32 else kept.view(torch.int16)).numpy()

    def of(self, rows: Sequence[int]) -> Below:
        """Those of some rows, one behind the other."""
        kept = np.concatenate([self._states_TD[self._starts[row] : self._starts[row + 1]] for row in rows])
        return Below(on_device(kept, self._device).view(self._dtype), self.layers)


@contextlib.contextmanager
def frozen_states(passes: Passes, path: Path, *, repeats: float, progress: Progress) -> Iterator[str]:
    """Inside the block steps begin above the frozen layers, where that gives the same loss.

    Args:
        path: of the file, which is deleted in the end.
        repeats: how often each row is computed.

    Yields:
        What was done, for the run's record.

    Raises:
        DiskFullError: [storage/disk-too-small], [storage/disk-full].
    """
    layers, why_not = _frozen_layers(passes, repeats)
    if why_not:
        yield f"frozen layers are computed in every pass: {why_not}"
        return
    try:
        plain = _loss(passes)
        passes.states = _computed(passes, path, layers, progress)
        kept = _loss(passes)
        if abs(kept - plain) <= TOLERANCE * max(1.0, abs(plain)):
            size = path.stat().st_size / 1e6
            yield f"{layers} frozen layers computed once, {size:,.0f} MB, loss {kept:.4f} instead of {plain:.4f}"
        else:
            passes.states = None
            yield f"frozen layers are computed in every pass: else the loss is {kept:.3f}, not {plain:.3f}"
    finally:
        passes.states = None
        path.unlink(missing_ok=True)


def _frozen_layers(passes: Passes, repeats: float) -> tuple[int, str]:
    """How many of the lowest layers do not learn, and why they cannot be left out, if so."""
    encoder: Any = getattr(passes.model, "encoder", None)
    stack = stack_of(encoder)
    if stack is None or not isinstance(passes.layout, LayoutChoice) or passes.layout.padded:
        return 0, "this family is computed in another way"
    in_stack = {id(weight) for weight in stack.parameters()}
    below = [weight for weight in encoder.get_input_embeddings().parameters() if id(weight) not in in_stack]
    learn = [any(weight.requires_grad for weight in layer.parameters()) for layer in stack]
    layers = learn.index(True) if any(learn) else len(learn) - 1
    if not layers or any(weight.requires_grad for weight in below):
        return 0, "the lowest layer learns, too; see `method.layers`"
    if repeats <= 1:
        return 0, "this process computes each row once anyway" if repeats else "several processes share the rows"
    if drops_out(passes.model, training=True) or prompt_ids(encoder):
        return 0, "dropout and learned prompts change what they give"
    if any(len(row.segment_lengths) > 1 for rows in (passes.rows, passes.kept_rows) for row in rows):
        return 0, "rows of several texts share their beginnings"
    return layers, ""


def _computed(passes: Passes, path: Path, layers: int, progress: Progress) -> FrozenStates:
    """The states of all rows, in a new file."""
    encoder: Any = passes.model.encoder
    width = int(encoder.config.hidden_size)
    dtype = torch.bfloat16 if passes.precision.name == "bf16" else torch.float32
    require_space(path.parent, dtype.itemsize * width * int(passes.lengths.sum()))
    found = FrozenStates(path, passes.lengths, width, layers=layers, dtype=dtype, device=passes.device)
    progress.stage(f"computing {layers} frozen layers once")
    training = passes.model.training
    place: dict[str, Any] = {"precision": passes.precision, "device": passes.device, "progress": progress}
    passes.model.eval()
    try:
        for rows, first in ((passes.rows, 0), (passes.kept_rows, len(passes.rows))):
            _keep(rows, first, found, encoder, layout=replace(passes.layout, across=False), **place)
    finally:
        passes.model.train(training)
    return found


def _keep(rows: Sequence[Encoded], first: int, into: FrozenStates, encoder: Any, **place: Any) -> None:
    """Computes the lower layers for rows that are numbered from `first` on."""

    def catch(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        raise _ReachedError(arguments[0] if arguments else named["hidden_states"])

    def keep(batch: Any) -> None:
        assert isinstance(batch, LaidOut)
        try:
            batch.hidden(encoder)
        except _ReachedError as reached:
            states_TD = reached.states[0]
        start = 0
        for row in batch.row_ids:
            length = rows[row].length
            into.put(first + row, states_TD[start : start + length])
            start += length

    hook = encoder.layers[into.layers].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        if len(rows):
            each_batch(rows, keep, **place)
    finally:
        hook.remove()


class _ReachedError(Exception):
    """The pass has come to the first layer that learns, with these states."""

    def __init__(self, states_1TD: Tensor) -> None:
        super().__init__()
        self.states = states_1TD


@torch.no_grad()
def _loss(passes: Passes) -> float:
    """Per unit, of some training rows."""
    training = passes.model.training
    passes.model.eval()
    try:
        with passes.precision.compute(passes.device):
            last = len(passes.rows) - 1
            some = sorted({round(place * last / (COMPARED - 1)) for place in range(COMPARED)})
            term = passes.task.loss(passes.model, passes.lay_out(some, 0))
    finally:
        passes.model.train(training)
    return float(term.total) / term.weight
