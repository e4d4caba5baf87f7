"""Clusters of texts that say almost the same."""

from __future__ import annotations

import random

import numpy as np
import pytest

from burnish.data.near_duplicates import comparable, jaccard, near_duplicate_clusters

LONG = "the parcel was left with a neighbour who does not know which of the two doors is ours"


def grams(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def test_a_changed_letter_is_a_near_duplicate_and_a_changed_sentence_is_not() -> None:
    texts = [LONG, LONG.replace("parcel", "parcels"), "a card that was swallowed by the machine at the station", LONG]
    assert near_duplicate_clusters(texts).tolist() == [0, 0, 2, 0]


def test_case_whitespace_and_composition_do_not_count() -> None:
    assert near_duplicate_clusters(["Cafe\u0301  au\tlait", "CAFÉ AU LAIT", "CAFE AU LAIT"]).tolist() == [0, 0, 2]
    assert comparable(" Straße\n") == "strasse"


def test_chains_join() -> None:
    steps = [LONG, LONG[6:], LONG[12:], LONG[18:], LONG[24:], LONG[30:]]
    assert jaccard([steps[0]], [steps[-1]])[0] < 0.8
    assert near_duplicate_clusters(steps).tolist() == [0] * 6


@pytest.mark.parametrize(
    ("texts", "clusters"),
    [
        ([], []),
        ([""], [0]),
        (["", "", " "], [0, 0, 0]),
        (["a", "b", "A"], [0, 1, 0]),
        (["\ud800 lone", "\ud800 lone", "\0", "x" * 200_000], [0, 0, 2, 3]),
    ],
)
def test_hostile_texts(texts: list[str], clusters: list[int]) -> None:
    assert near_duplicate_clusters(texts).tolist() == clusters


def test_the_clusters_do_not_depend_on_the_order() -> None:
    chooser = random.Random(4)
    texts = [" ".join(chooser.choices(LONG.split(), k=14)) for _ in range(400)]
    texts += [text[:-3] for text in texts[:200]]
    expected = groups(texts)
    chooser.shuffle(texts)
    assert groups(texts) == expected


def groups(texts: list[str]) -> set[frozenset[str]]:
    members: dict[int, set[str]] = {}
    for text, cluster in zip(texts, near_duplicate_clusters(texts).tolist(), strict=True):
        members.setdefault(cluster, set()).add(text)
    return set(map(frozenset, members.values()))


def test_many_rows_of_one_template_are_one_cluster() -> None:
    texts = [f"we regret that your order {number} could not be brought to your address today" for number in range(2000)]
    assert set(near_duplicate_clusters(texts).tolist()) == {0}


def test_the_index_agrees_with_sets() -> None:
    chooser = random.Random(5)
    left = ["".join(chooser.choices("ab ", k=chooser.randint(0, 40))) for _ in range(300)]
    right = [text[1:] + "b" if chooser.random() < 0.5 else text[::-1] for text in left]
    padded = [(a.ljust(5, "\0"), b.ljust(5, "\0")) for a, b in zip(left, right, strict=True)]
    expected = [len(grams(a) & grams(b)) / len(grams(a) | grams(b)) for a, b in padded]
    assert np.allclose(jaccard(left, right), expected)


def test_pairs_above_the_threshold_are_found_and_no_others() -> None:
    """Against all pairs by brute force: at most one in a thousand pairs may be missed."""
    chooser = random.Random(6)
    vocabulary = ["".join(chooser.choices("abcdefghij", k=chooser.randint(2, 8))) for _ in range(300)]
    texts = [" ".join(chooser.choices(vocabulary, k=12)) for _ in range(400)]
    for text in texts[:300]:
        place = chooser.randrange(len(text))
        texts.append(text[:place] + chooser.choice("xyz") * chooser.randint(1, 4) + text[place + 2 :])
    sets = [grams(text) for text in texts]
    pairs = [
        (a, b) for a in range(len(texts)) for b in range(a) if len(sets[a] & sets[b]) >= 0.8 * len(sets[a] | sets[b])
    ]
    clusters = near_duplicate_clusters(texts)
    missed = [pair for pair in pairs if clusters[pair[0]] != clusters[pair[1]]]
    assert len(pairs) > 200
    assert len(missed) <= 1
    joined = {index for pair in pairs for index in pair}
    assert all(clusters[index] == index for index in range(len(texts)) if index not in joined)
