"""Train, validation and test parts that depend on what the rows say and not on their order."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from burnish.data.clean import LABEL
from burnish.data.deduplicate import loose_form
from burnish.types import Example, Split

# Rows that say the same thing and must stay together, and the hash that places them.
_Group = tuple[bytes, list[int]]


def split(
    examples: Sequence[Example], validation_ratio: float, test_ratio: float, seed: int
) -> dict[Split, list[Example]]:
    """A partition of the rows, each part in their order, stratified by label.

    Within each class, groups of rows with equal loose form are ordered by a hash keyed with the seed and given to test
    until its quota is full, then to validation, then to train: shuffling the file changes nothing. Each class keeps at
    least one row in train.

    Args:
        examples: rows, with or without labels.
        validation_ratio: share of the rows that validate, 0..1.
        test_ratio: share of the rows held back for the verdict, 0..1; both together under 1.
        seed: any whole number.
    """
    classes = _groups_by_class(examples, seed)
    sizes = {label: sum(len(rows) for _, rows in groups) for label, groups in classes.items()}
    test_quota = _quotas(sizes, test_ratio, sizes)
    remaining = {label: size - test_quota[label] for label, size in sizes.items()}
    validation_quota = _quotas(sizes, validation_ratio, remaining)
    part_of: dict[int, Split] = {}
    for label, groups in classes.items():
        left = {Split.TEST: test_quota[label], Split.VALIDATION: validation_quota[label]}
        for _, rows in sorted(groups):
            part = next((part for part, places in left.items() if places >= len(rows)), Split.TRAIN)
            if part in left:
                left[part] -= len(rows)
            part_of.update(dict.fromkeys(rows, part))
    parts: dict[Split, list[Example]] = {part: [] for part in Split}
    for index, example in enumerate(examples):
        parts[part_of[index]].append(example)
    return parts


def _groups_by_class(examples: Sequence[Example], seed: int) -> dict[str, list[_Group]]:
    """Groups per label, labels sorted. A text with several labels counts for the one most of its rows have."""
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        rows_of[loose_form(example.row)].append(index)
    classes: defaultdict[str, list[_Group]] = defaultdict(list)
    key = str(seed).encode()
    for form, rows in rows_of.items():
        digest = hashlib.blake2b(form.encode(), key=key, digest_size=16).digest()
        classes[_usual_label([examples[index] for index in rows])].append((digest, rows))
    return {label: classes[label] for label in sorted(classes)}


def _usual_label(examples: Sequence[Example]) -> str:
    if len(examples) == 1:
        return str(examples[0].row.get(LABEL, ""))
    labels = Counter(str(example.row.get(LABEL, "")) for example in examples)
    return min(labels, key=lambda label: (-labels[label], label))


def _quotas(sizes: Mapping[str, int], ratio: float, available: Mapping[str, int]) -> dict[str, int]:
    """Rows each class gives: in all the ratio of all rows, rounded; largest remainders first; one row always stays.

    Source: largest remainder method (Hamilton apportionment).
    """
    quotas = {label: min(int(size * ratio), max(0, available[label] - 1)) for label, size in sizes.items()}
    missing = round(sum(sizes.values()) * ratio) - sum(quotas.values())
    able = [label for label in sizes if quotas[label] + 1 < available[label]]
    able.sort(key=lambda label: (quotas[label] - sizes[label] * ratio, -available[label], label))
    for label in able[: max(0, missing)]:
        quotas[label] += 1
    return quotas
