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


def test_what_stays_together_is_in_one_part() -> None:
    examples = rows(a=60, b=40)
    together = [index // 4 for index in range(100)]
    parts = split(examples, 0.15, 0.15, seed=1, together=together)
    for examples_of_part in parts.values():
        lines = {example.origin.line - 2 for example in examples_of_part}
        assert all({4 * (i // 4) + k for k in range(4)} <= lines for i in lines)
    assert [len(parts[part]) for part in Split] == [76, 12, 12]


def test_a_label_of_one_bundle_stays_in_train() -> None:
    examples = rows(a=30, b=30, c=10)
    together = [*range(60), *[60] * 10]
    assert counts(split(examples, 0.15, 0.15, seed=1, together=together))["train"]["c"] == 10
    mixed = [*range(55), *[60] * 15]  # the bundle holds some of b and all of c
    assert counts(split(examples, 0.4, 0.4, seed=1, together=mixed))["train"]["c"] == 10


def test_rows_with_several_labels_are_spread_label_by_label() -> None:
    sets = [("x",), ("x", "y"), ("y", "z"), ("z",), ("x", "z"), ("rare", "x")]
    chosen = [sets[i % 5] if i % 40 else sets[5] for i in range(400)]  # 10 rows of "rare"
    examples = [Example({"text": f"t{i}", "labels": list(c)}, Origin("f", i)) for i, c in enumerate(chosen)]
    parts = split(examples, 0.2, 0.2, seed=1)
    assert [len(parts[part]) for part in Split] == [240, 80, 80]
    for part, share in zip(Split, (0.6, 0.2, 0.2), strict=True):
        found = Counter(label for example in parts[part] for label in example.row["labels"])
        assert found["rare"] == 10 * share
        assert all(abs(found[x] - share * sum(x in c for c in chosen)) <= 2 for x in "xyz")


def test_the_newest_rows_judge() -> None:
    examples = rows(a=50, b=50)
    times = [float((37 * i) % 100) for i in range(100)]
    parts = split(examples, 0.1, 0.2, seed=1, times=times)
    spans = {part: [times[e.origin.line - 2] for e in found] for part, found in parts.items()}
    assert sorted(spans[Split.TEST]) == list(range(80, 100))
    assert sorted(spans[Split.VALIDATION]) == list(range(70, 80))


def test_old_rows_go_with_their_newest_twin() -> None:
    examples = rows(a=20)
    together = [0, *range(1, 19), 0]  # the oldest and the newest row say the same
    parts = split(examples, 0.1, 0.1, seed=1, together=together, times=[float(i) for i in range(20)])
    assert [e.origin.line - 2 for e in parts[Split.TEST]] == [0, 19]
    assert [e.origin.line - 2 for e in parts[Split.VALIDATION]] == [17, 18]


def test_equal_times_are_cut_by_the_hash_and_not_by_the_order() -> None:
    examples = rows(a=20)
    forward = split(examples, 0.2, 0.2, seed=1, times=[5.0] * 20)
    backward = split(examples[::-1], 0.2, 0.2, seed=1, times=[5.0] * 20)
    for part in Split:
        assert {e.origin.line for e in forward[part]} == {e.origin.line for e in backward[part]}


def test_classes_of_a_table_keep_their_shares_and_numbers_have_none() -> None:
    cells = [Example({"features": {"x": i}, "target": "ab"[i % 5 == 0]}, Origin("f", i)) for i in range(100)]
    parts = split(cells, 0.15, 0.15, seed=1)
    assert {part.value: Counter(e.row["target"] for e in some) for part, some in parts.items()} == {
        "train": {"a": 56, "b": 14},
        "validation": {"a": 12, "b": 3},
        "test": {"a": 12, "b": 3},
    }
    numbers = [Example({"features": {"x": i}, "target": i / 2}, Origin("f", i)) for i in range(100)]
    assert {part.value: len(some) for part, some in split(numbers, 0.15, 0.15, seed=1).items()} == {
        "train": 70,
        "validation": 15,
        "test": 15,
    }
