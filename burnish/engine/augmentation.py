"""Images changed by chance while a model trains, so that it learns what they show and not how they were taken.

What chance does to a row is a function of seed, step and row, so it is the same in any micro-batch and after any
resume. Shapes: B rows, H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from burnish.engine.options import AugmentationOptions

Array = np.ndarray[Any, Any]

NO_AUGMENTATION = AugmentationOptions(flip="none", shift=0.0, light=0.0)


def augmented(pixels_BHW3: Array, draws_B: Array, options: AugmentationOptions) -> Array:
    """The images, each mirrored, shifted and lit as its draw says; uint8 in and out.

    Args:
        pixels_BHW3: (B, H, W, 3) uint8.
        draws_B: (B,) uint64, what chance gives each row.
    """
    if options == NO_AUGMENTATION:
        return pixels_BHW3
    return np.stack([_changed(image, int(draw), options) for image, draw in zip(pixels_BHW3, draws_B, strict=True)])


def _changed(image_HW3: Array, draw: int, options: AugmentationOptions) -> Array:
    across, down, right, below, brightness, contrast = np.random.Generator(np.random.Philox(key=[draw, 0])).random(6)
    if options.flip != "none" and across < 0.5:
        image_HW3 = image_HW3[:, ::-1]
    if options.flip == "both" and down < 0.5:
        image_HW3 = image_HW3[::-1]
    if options.shift:
        rows = _shifted(image_HW3.shape[0], options.shift * (2 * below - 1))
        columns = _shifted(image_HW3.shape[1], options.shift * (2 * right - 1))
        image_HW3 = image_HW3[rows][:, columns]
    if options.light:
        lit = image_HW3.astype(np.float32) * (1 + options.light * (2 * brightness - 1))
        middle = lit.mean()
        lit = middle + (lit - middle) * (1 + options.light * (2 * contrast - 1))
        image_HW3 = lit.round().clip(0, 255).astype(np.uint8)
    return image_HW3


def _shifted(size: int, share: float) -> Array:
    """(size,) which row stands where after a shift by a share of the side; what is uncovered mirrors what is there.

    >>> _shifted(4, 0.25).tolist(), _shifted(4, -0.25).tolist()
    ([0, 0, 1, 2], [1, 2, 3, 3])
    """
    places = np.arange(size) - round(share * size)
    places = np.where(places < 0, -1 - places, places)
    return np.where(places >= size, 2 * size - 1 - places, places)
