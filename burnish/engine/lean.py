"""What a training holds in fewer bytes and computes in fewer passes over memory.

Norms over the root of the mean square are one operation each, and so are the rotations of queries and keys. And on a
GPU, frozen weights are bf16 inside the block where bf16 holds their numbers exactly, as those of most published bases:
hidden states are as wide as the weights they meet. Beside embeddings and norms in float32 they stay float32, and every
norm and every sum moves twice the bytes; so they are bf16 from the embeddings to the head, which rounds what is carried
from layer to layer.

Nothing of this is believed: each kind of norm and of rotation is compared with the family's own, and the loss of some
rows with the loss before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from burnish.engine.memory import is_out_of_memory
from burnish.engine.norms import lean_norms, norms_of
from burnish.engine.passes import Passes
from burnish.engine.rotations import lean_rotations, rotations_of

DEVICES = ("cuda",)  # where memory is what sums wait for
TOLERANCE = 0.02  # of the loss per unit, or of one nat where it is smaller: as for bf16 copies of weights that learn

_KEPT = "frozen weights, norms and rotations stay as they are"


@contextlib.contextmanager
def held_lean(model: nn.Module, passes: Passes, *, max_tokens: int) -> Iterator[str]:
    """Inside the block norms are one operation, and on a GPU frozen weights bf16, where that changes nothing.

    Yields:
        What was done, for the run's record; empty where nothing was.
    """
    narrows = passes.device.type in DEVICES
    if passes.precision.name != "bf16" or not (narrows or norms_of(model) or rotations_of(model)):
        yield ""
        return
    with contextlib.ExitStack() as changes:
        try:
            plain = passes.probed_loss(max_tokens, whole=narrows)
            held = changes.enter_context(_narrow(model)) if narrows else 0
            norms, turns = changes.enter_context(lean_norms(model)), changes.enter_context(lean_rotations(model))
            lean = passes.probed_loss(max_tokens, whole=narrows)
            done = [f"{held} frozen weights held in bf16"] * narrows
            done += [f"{norms} norms in one operation each"] * bool(norms)
            done += ["rotations in one operation"] * bool(turns)
            said = f"{', '.join(done)}, loss {lean:.4f}" if held or norms or turns else ""
            if not abs(lean - plain) <= TOLERANCE * max(1.0, abs(plain)):
                changes.close()
                said = f"{_KEPT}: else the loss is {lean:.4f}, not {plain:.4f}"
        except (RuntimeError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            changes.close()
            said = f"{_KEPT}: changed ones were refused ({type(error).__name__})"
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
