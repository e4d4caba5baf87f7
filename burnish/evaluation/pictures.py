"""Small copies of images for the pages that tell of a run."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SIDE = 96  # pixels of the longer side
QUALITY = 85


def small_picture(pixels_HW3: Array) -> str:
    """An image (H, W, 3) uint8 as a JPEG of at most 96 pixels a side, in a data: URL (RFC 2397)."""
    from PIL import Image

    image = Image.fromarray(pixels_HW3)
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
