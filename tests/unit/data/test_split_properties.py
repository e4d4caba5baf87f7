"""A split is a partition, stratified, blind to row order, and never tears equal texts apart."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.deduplicate import loose_form
from burnish.data.split import labels_of, split
from burnish.types import Example, Origin, Split

TEXTS = st.text("aAbB \té", min_size=1, max_size=4)
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from("xyz")), max_size=60).map(
    lambda pairs: [Example({"text": t, "label": x}, Origin("f", i)) for i, (t, x) in enumerate(pairs)]
)
RATIOS = st.sampled_from([0.05, 0.1, 0.15, 0.3, 0.49])


@given(ROWS, RATIOS, RATIOS, st.integers(-(2**63), 2**63))
def test_partition_in_order(rows: list[Example], validation: float, test: float, seed: int) -> None:
    parts = split(rows, validation, test, seed)
    lines = [[example.origin.line for example in parts[part]] for part in Split]
    assert sorted(sum(lines, [])) == list(range(len(rows)))  # noqa: RUF017  # three short lists
    assert all(part == sorted(part) for part in lines)


@given(ROWS, RATIOS, RATIOS)
def test_equal_texts_stay_together(rows: list[Example], validation: float, test: float) -> None:
    parts_of: defaultdict[str, set[Split]] = defaultdict(set)
    for part, examples in split(rows, validation, test, seed=3).items():
        for example in examples:
            parts_of[loose_form(example.row)].add(part)
    assert all(len(parts) == 1 for parts in parts_of.values())


@given(ROWS, RATIOS, RATIOS, st.randoms(use_true_random=False))
def test_row_order_does_not_matter(
    rows: list[Example], validation: float, test: float, shuffler: random.Random
) -> None:
    shuffled = shuffler.sample(rows, len(rows))
    before, after = split(rows, validation, test, seed=3), split(shuffled, validation, test, seed=3)
    for part in Split:
        assert {e.origin.line for e in before[part]} == {e.origin.line for e in after[part]}


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 300), min_size=2), st.integers(0, 10))
def test_shares_of_classes(sizes: dict[str, int], seed: int) -> None:
    rows = [Example({"text": f"{x} {i}", "label": x}, Origin("f", i)) for x, n in sizes.items() for i in range(n)]
    parts = split(rows, 0.15, 0.15, seed)
    trained = Counter(example.row["label"] for example in parts[Split.TRAIN])
    assert set(trained) == set(sizes)
    for examples in parts.values():
        count = Counter(example.row["label"] for example in examples)
        for label, size in sizes.items():
            # Within two points, or within the two rows that rounding and the row kept for train can cost.
            exact = len(examples) * size / len(rows)
            assert abs(count[label] - exact) <= max(0.02 * len(examples), 2)


def _random_set(generator: random.Random) -> tuple[list[Example], list[int]]:
    """500 to 1,000 rows with labels of uneven shares, near-duplicate clusters of up to 4 and groups of up to 6 rows."""
    count, classes = generator.randint(500, 1000), generator.randint(2, 8)
    weights = [generator.uniform(0.1, 1) for _ in range(classes)]
    several = generator.random() < 0.3
    together: list[int] = []
    while len(together) < count:
        together += [len(together)] * generator.choice([1, 1, 1, 2, 3, 4, 6])
    examples = []
    for index in range(count):
        labels = generator.choices("abcdefgh"[:classes], weights, k=generator.randint(1, 3) if several else 1)
        cells = {"labels": sorted(set(labels))} if several else {"label": labels[0]}
        examples.append(Example({"text": f"text {index}", **cells}, Origin("f", index)))
    return examples, together[:count]


@pytest.mark.slow
def test_five_hundred_random_sets() -> None:
    """No bundle in two parts, class shares within two points, the same parts for shuffled rows."""
    worst = 0.0
    for seed in range(500):
        generator = random.Random(seed)
        examples, together = _random_set(generator)
        parts = split(examples, 0.15, 0.15, seed, together=together)
        part_of = {e.origin.line: part for part, found in parts.items() for e in found}
        assert len({(bundle, part_of[row]) for row, bundle in enumerate(together)}) == len(set(together))
        order = generator.sample(range(len(examples)), len(examples))
        shuffled = split([examples[i] for i in order], 0.15, 0.15, seed, together=[together[i] for i in order])
        assert {e.origin.line: part for part, found in shuffled.items() for e in found} == part_of
        whole = Counter(label for example in examples for label in labels_of(example))
        for found in parts.values():
            count = Counter(label for example in found for label in labels_of(example))
            off = (abs(count[x] / len(found) - whole[x] / len(examples)) for x in whole)
            worst = max(worst, *off)
    assert worst <= 0.02
