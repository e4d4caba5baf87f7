"""Images of a micro-batch: decoded once, changed by chance while the model trains, scaled as the base reads them.

Shapes: B rows, H height, W width, S tokens of an image, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from burnish.engine.augmentation import NO_AUGMENTATION, augmented
from burnish.engine.dropout import drawn, pool_starts
from burnish.engine.layout import LayoutChoice
from burnish.engine.options import AugmentationOptions
from burnish.engine.upper_layers import Below
from burnish.model.images import Preprocessing
from burnish.types import Encoded, Reads

Array = np.ndarray[Any, Any]


class LaidOutImages:
    """Images of one micro-batch on the model's device; satisfies `types.Batch`.

    Args:
        rows: encoded rows with pixels.
        row_ids: stable number of each row in its split.
        preprocessing: the base's.
        augmentation: how images are changed while the model trains.
        draws: (B,) uint64, what chance gives each row; None: images are shown as they are.
    """

    def __init__(
        self,
        rows: Sequence[Encoded],
        row_ids: Sequence[int],
        *,
        preprocessing: Preprocessing,
        augmentation: AugmentationOptions,
        device: torch.device,
        draws: Array | None = None,
    ) -> None:
        self.row_ids = tuple(row_ids)
        self.row_count = len(rows)
        self.read_counts = (0,) * len(rows)
        self.given: Tensor | None = None
        self.device = device
        self._preprocessing = preprocessing
        pixels_BHW3 = np.stack([row.pixels for row in rows if row.pixels is not None])
        self._dropout: Tensor | None = None
        if draws is not None:
            pixels_BHW3 = augmented(pixels_BHW3, draws, augmentation)
            self._dropout = torch.from_numpy(pool_starts(draws)).to(device)
        self._pixels = torch.from_numpy(pixels_BHW3)
        self._targets = np.stack([row.targets for row in rows])
        self._remembered: tuple[Module, Reads, Tensor] | None = None

    @property
    def targets(self) -> Tensor:
        return torch.from_numpy(self._targets).to(self.device)

    @property
    def pixels(self) -> Tensor:
        """(B, 3, H, W) float32 as the base reads them."""
        return self._preprocessing.normalized(self._pixels.to(self.device).permute(0, 3, 1, 2).float())

    def hidden(self, encoder: Module, at: Reads = "all") -> Tensor:
        """The base's own vector of each image (B, D), its first token (B, D), or all its tokens (B * S, D).

        Without gradients they are remembered: the loss and the prediction of a batch read the same ones.
        """
        if self._remembered is not None and self._remembered[:2] == (encoder, at):
            return self._remembered[2]
        with drawn(self._dropout):
            output = encoder(pixel_values=self.pixels)
        if at == "own":
            hidden: Tensor = output.pooler_output.flatten(1)
        elif at == "first":
            hidden = output.last_hidden_state[:, 0]
        else:
            hidden = output.last_hidden_state.flatten(0, 1)
        if torch.is_inference_mode_enabled():
            self._remembered = (encoder, at, hidden)
        return hidden

    def mean(self, hidden_TD: Tensor) -> Tensor:
        """(B, D), the mean over each image's tokens."""
        return hidden_TD.view(self.row_count, -1, hidden_TD.shape[-1]).mean(1)


@dataclass(frozen=True, slots=True)
class ImageLayout(LayoutChoice):
    """How batches of images are laid out."""

    preprocessing: Preprocessing
    augmentation: AugmentationOptions

    def lay_out(
        self,
        rows: Sequence[Encoded],
        row_ids: Sequence[int],
        *,
        device: torch.device,
        draws: Array | None = None,
        below: Below | None = None,
    ) -> LaidOutImages:
        """See `LayoutChoice.lay_out`; an image is always computed whole."""
        assert below is None
        return LaidOutImages(
            rows,
            row_ids,
            preprocessing=self.preprocessing,
            augmentation=self.augmentation,
            device=device,
            draws=draws,
        )


def image_layout(preprocessing: Preprocessing, augmentation: AugmentationOptions = NO_AUGMENTATION) -> ImageLayout:
    """The layout of images, which are all of one size."""
    height, width = preprocessing.size
    # "padded" is the layout that asks nothing of a model's attention.
    return ImageLayout(True, 0, f"images of {height} x {width} pixels", preprocessing, augmentation)
