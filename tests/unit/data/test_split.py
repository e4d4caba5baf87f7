"""The split by example: sizes, small classes, rows without labels."""

from __future__ import annotations

from collections import Counter

from burnish.data.split import split
from burnish.types import Example, Origin, Split


def rows(**counts: int) -> list[Example]:
    texts = [(f"{label} text {i}", label) for label, count in counts.items() for i in range(count)]
    return [Example({"text": text, "label": label}, Origin("f", i)) for i, (text, label) in enumerate(texts, start=2)]


def counts(parts: dict[Split, list[Example]]) -> dict[str, dict[str, int]]:
    return {part.value: dict(Counter(example.row["label"] for example in examples)) for part, examples in parts.items()}


def test_sizes_are_the_ratios_of_all_rows() -> None:
    assert counts(split(rows(a=80, b=20), 0.15, 0.15, seed=1)) == {
        "train": {"a": 56, "b": 14},
        "validation": {"a": 12, "b": 3},
        "test": {"a": 12, "b": 3},
    }


def test_rounding_is_shared_between_classes() -> None:
    parts = split(rows(**{f"c{i}": 5 for i in range(20)}), 0.15, 0.15, seed=1)  # 0.75 rows per class
    assert {part.value: len(examples) for part, examples in parts.items()} == {
        "train": 70,
        "validation": 15,
        "test": 15,
    }


def test_small_classes_go_to_train_first() -> None:
    parts = split(rows(big=97, pair=2, single=1), 0.15, 0.15, seed=1)
    assert counts(parts)["train"]["single"] == 1
    assert counts(parts)["train"]["pair"] >= 1
    assert len(parts[Split.TEST]) == len(parts[Split.VALIDATION]) == 15


def test_ratio_of_zero_takes_nothing() -> None:
    parts = split(rows(a=10, b=10), 0.1, 0.0, seed=1)
    assert (len(parts[Split.VALIDATION]), parts[Split.TEST]) == (2, [])


def test_rows_stay_in_order() -> None:
    for examples in split(rows(a=30, b=30), 0.2, 0.2, seed=1).values():
        lines = [example.origin.line for example in examples]
        assert lines == sorted(lines)


def test_rows_without_labels() -> None:
    examples = [Example({"text": f"t{i}"}, Origin("f", i)) for i in range(20)]
    parts = split(examples, 0.15, 0.15, seed=1)
    assert [len(parts[part]) for part in Split] == [14, 3, 3]


def test_other_seed_other_split() -> None:
    examples = rows(a=50, b=50)
    assert split(examples, 0.15, 0.15, seed=1) != split(examples, 0.15, 0.15, seed=2)
    assert split(examples, 0.15, 0.15, seed=1) == split(examples, 0.15, 0.15, seed=1)


def test_the_split_of_a_seed_never_changes() -> None:
    parts = split(rows(a=6, b=6), 0.2, 0.2, seed=13)
    assert {part.value: [example.origin.line for example in examples] for part, examples in parts.items()} == {
        "train": [3, 5, 6, 7, 9, 10, 11, 13],
        "validation": [2, 12],
        "test": [4, 8],
    }
