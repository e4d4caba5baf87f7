"""What a classifier of images can do without any model: a logistic regression on the pixels of a small copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from burnish.evaluation.arms import ArmResult, base_probe
from burnish.types import Metric

Array = np.ndarray[Any, Any]

SIDE = 16  # pixels of a side of the small copy


def pixels(
    train_NHW3: Array,
    train_labels: Sequence[str],
    val_NHW3: Array,
    val_labels: Sequence[str],
    test_NHW3: Array,
    metric: Metric,
) -> ArmResult:
    """Multinomial logistic regression on 16 x 16 means of the images (N, H, W, 3), its L2 term chosen on validation."""
    train, val, test = (small_pixels(images) for images in (train_NHW3, val_NHW3, test_NHW3))
    found = base_probe(train, train_labels, val, val_labels, test, metric)
    settings = {"features": f"{SIDE} x {SIDE} means of the pixels, unit norm", "l2": found.settings["l2"]}
    return replace(found, name="pixels", settings=settings)


def small_pixels(images_NHW3: Array, side: int = SIDE) -> Array:
    """(N, side * side * 3) float32 in 0..1: each image as the means of side x side blocks, each at least one pixel.

    >>> small_pixels(np.full((1, 4, 4, 3), 255, np.uint8), side=2).tolist()
    [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    """
    count, height, width, channels = images_NHW3.shape
    rows, columns = (np.arange(min(side, length)) * length // min(side, length) for length in (height, width))
    areas = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))[..., None]
    small = np.empty((count, len(rows), len(columns), channels), np.float32)
    for index, image in enumerate(images_NHW3):
        sums = np.add.reduceat(np.add.reduceat(image.astype(np.float32), rows, axis=0), columns, axis=1)
        small[index] = sums / areas / 255
    return small.reshape(count, -1)
