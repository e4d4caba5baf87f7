"""Rows that say almost the same, or show it."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.data.deduplicate import loose_form
from burnish.data.image_hash import near_image_clusters
from burnish.data.near_duplicates import Array, near_duplicate_clusters
from burnish.types import Row


def near_row_clusters(rows: Sequence[Row]) -> Array:
    """The cluster of each row, (N,) int64: images by what they show, all other rows by what they say."""
    hashes = [str(row["dhash"]) for row in rows if "dhash" in row]
    if hashes and len(hashes) == len(rows):
        return near_image_clusters(hashes)
    return near_duplicate_clusters([loose_form(row) for row in rows])
