"""Rows of a text and a label as pairs of texts with the same label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from burnish.types import Row


def paired(rows: Sequence[Row], among: Sequence[Row], *, seed: int) -> list[Row | None]:
    """Each row as {"anchor", "positive", "label"}; None where `among` has no other text of its label.

    Within a label the texts of `among` stand in a shuffled circle and each is given the next one: every text is an
    anchor once and a positive once. Rows that are not in the circle take its texts in turn.

    Args:
        rows, among: rows of text and label.
        seed: of the order of the circles.
    """
    circles: dict[str, list[str]] = {}
    random = np.random.Generator(np.random.Philox(key=[seed, 0]))
    for index in random.permutation(len(among)).tolist():
        circles.setdefault(among[index]["label"], []).append(among[index]["text"])
    place = {(label, text): at for label, texts in circles.items() for at, text in enumerate(texts)}
    pairs: list[Row | None] = []
    for index, row in enumerate(rows):
        label, text = row["label"], row["text"]
        circle = circles.get(label, [])
        if not circle or circle == [text]:
            pairs.append(None)
            continue
        positive = circle[(place.get((label, text), index) + 1) % len(circle)]
        pairs.append({"anchor": text, "positive": positive, "label": label})
    return pairs
