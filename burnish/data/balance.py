"""Uneven classes evened out in training: weights in the loss, or rows repeated or left out."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from burnish.data.clean import LABEL
from burnish.data.deduplicate import normal_form
from burnish.types import Example

IMBALANCED = 3.0  # largest over smallest class; above, macro-F1 decides and balancing is worth a thought


def is_imbalanced(label_counts: Mapping[str, int]) -> bool:
    """Whether the largest class has over three times the rows of the smallest."""
    counts = label_counts.values()
    return bool(counts) and max(counts) > IMBALANCED * min(counts)


def class_weights(label_counts: Mapping[str, int]) -> dict[str, float]:
    """How much a row of each class counts in the loss: N / (C * rows of the class), 1 on average over the rows.

    Source: King and Zeng 2001, Logistic Regression in Rare Events Data; scikit-learn's class_weight="balanced".

    >>> class_weights({"ham": 75, "spam": 25})
    {'ham': 0.6666666666666666, 'spam': 2.0}
    """
    total = sum(label_counts.values())
    return {label: total / (len(label_counts) * count) for label, count in label_counts.items()}


def oversample(examples: Sequence[Example], seed: int) -> list[Example]:
    """Rows of small classes repeated until each class has as many as the largest; the repetitions come last.

    Each row of a class is repeated equally often, give or take one; a hash keyed with the seed decides which.
    """
    classes = by_class(examples, seed)
    largest = max(map(len, classes.values()), default=0)
    more = [rows[i % len(rows)] for rows in classes.values() for i in range(largest - len(rows))]
    return [*examples, *more]


def undersample(examples: Sequence[Example], seed: int) -> list[Example]:
    """As many rows of each class as the smallest has, in order; a hash keyed with the seed decides which."""
    classes = by_class(examples, seed)
    smallest = min(map(len, classes.values()), default=0)
    chosen = {id(example) for rows in classes.values() for example in rows[:smallest]}
    return [example for example in examples if id(example) in chosen]


def by_class(examples: Sequence[Example], seed: int) -> dict[str, list[Example]]:
    """Rows per label, labels sorted, rows in the order of a hash of their texts."""
    key = str(seed).encode()
    classes: defaultdict[str, list[tuple[bytes, Example]]] = defaultdict(list)
    for example in examples:
        digest = hashlib.blake2b(normal_form(example.row).encode(), key=key, digest_size=16).digest()
        classes[str(example.row[LABEL])].append((digest, example))
    return {label: [e for _, e in sorted(classes[label], key=lambda pair: pair[0])] for label in sorted(classes)}
