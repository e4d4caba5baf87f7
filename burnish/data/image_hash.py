"""Images that show almost the same: 256 bits that survive another size, another compression or a little more light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]

SIDE = 16
# Bits of 256 by which near duplicates may differ. JPEG of quality 80 at twice the size changes 5 to 12 bits of small
# noisy images (median); different cells under a microscope differ by more than 26, of 400,000 pairs of clothes 12 by
# fewer than this.
NEAR = 12
CHUNK = 2_048  # images compared with all others at a time


def difference_hash(image: Image) -> str:
    """256 bits as 64 hex digits: whether each of 16 x 16 places is brighter than its left neighbour.

    Source: dHash, Krawetz 2013 ("Kind of Like That"), with 16 x 16 places instead of 8 x 8, which tell small images
    of one kind apart.
    """
    from PIL import Image

    grey = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.LANCZOS))
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()


def near_image_clusters(hashes: Sequence[str], *, near: int = NEAR) -> Array:
    """The cluster of each image: (N,) int64, equal for images that a chain of near ones joins.

    Args:
        hashes: of `difference_hash`.
        near: bits by which two images of a pair may differ.

    Cost: all pairs are compared, 256 products each: about a second for 10,000 images.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    packed = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    signs_NB = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    enough = signs_NB.shape[1] - 2 * near  # the product of two hashes is the bits they share minus the others
    pairs = [np.empty((0, 2), np.int64)]
    for start in range(0, len(hashes), CHUNK):
        found_P2 = np.argwhere(signs_NB[start : start + CHUNK] @ signs_NB.T >= enough)
        found_P2[:, 0] += start
        pairs.append(found_P2)
    one, other = np.concatenate(pairs).T
    links = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(hashes), len(hashes)))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)
