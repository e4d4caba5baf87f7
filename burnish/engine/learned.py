"""What a training changes in its model, and how a checkpoint holds it: weights, their running average, buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from burnish.engine import checkpoint as checkpoints
from burnish.engine.flat import Flat
from burnish.engine.optimizer import WeightAverage
from burnish.storage.durable import require_undamaged

AVERAGE, BUFFER = "average.", "buffer."  # beginnings of names in a checkpoint
Weights = Mapping[str, Tensor]


class Learned:
    """The weights that learn in a model, with what else moves beside them.

    Args:
        trainable: weights that learn, by name.
        average_decay: of their running average; 0 or None: none is kept.
    """

    def __init__(self, model: nn.Module, trainable: Weights, average_decay: float | None) -> None:
        self.model, self.trainable = model, trainable
        self.average = WeightAverage(trainable, average_decay) if average_decay else None
        stored = model.state_dict().keys()
        self.buffers = {name: buffer for name, buffer in model.named_buffers() if name in stored}
        self.first_buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}

    def hold(self, weights: Sequence[Tensor], values: Flat) -> None:
        """Averages weights that lie side by side together, whose numbers `values` has."""
        if self.average is not None:
            name_of = {id(weight): name for name, weight in self.trainable.items()}
            self.average.hold([name_of[id(weight)] for weight in weights], values)

    def as_saved(self) -> dict[str, Tensor]:
        """What a checkpoint holds; buffers that never changed are not stored."""
        weights = dict(self.trainable)
        if self.average is not None:
            weights |= {AVERAGE + name: weight for name, weight in self.average.weights.items()}
        changed = {name: b for name, b in self.buffers.items() if not torch.equal(b, self.first_buffers[name])}
        return weights | {BUFFER + name: buffer for name, buffer in changed.items()}

    @torch.no_grad()
    def restore(self, saved: Weights) -> None:
        """Puts back what a checkpoint holds, to go on learning."""
        for name, weight in self.trainable.items():
            weight.copy_(saved[name])
            if self.average is not None:
                self.average.weights[name].copy_(saved.get(AVERAGE + name, weight))
        self.restore_buffers(saved)

    def restore_buffers(self, saved: Weights) -> None:
        """Running means and the like, which learn without a gradient; those not saved become what they were."""
        for name, buffer in self.buffers.items():
            buffer.copy_(saved.get(BUFFER + name, self.first_buffers[name]))

    @torch.no_grad()
    def take(self, weights: Weights) -> None:
        """Leaves these weights in the model, to be used."""
        for name, weight in self.trainable.items():
            weight.copy_(weights[name])
        self.restore_buffers(weights)
        self.model.eval()

    def as_validated(self, folder: Path) -> dict[str, Tensor]:
        """What a checkpoint holds, its weights as they are validated: averaged ones where an average is kept.

        Raises:
            DamagedStoreError: [storage/damaged].
        """
        require_undamaged(folder)
        found = checkpoints.read_weights(folder)
        if self.average is None:
            return found
        averaged = {name: found.pop(AVERAGE + name) for name in self.trainable}
        return found | averaged

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights are in the model for the length of a block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, value in self.average.weights.items() if self.average else ():
            weight = self.trainable[name]
            weight.data, value.data = value.data, weight.data
