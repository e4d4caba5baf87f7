"""Rows that stay together: linked by text, by cluster, by group, and by chains of these."""

from __future__ import annotations

import random

from burnish.data.bundles import bundles
from burnish.types import Example, Origin


def rows(*pairs: tuple[str, str | None]) -> list[Example]:
    return [Example({"text": text}, Origin("f", i), {"user": user}) for i, (text, user) in enumerate(pairs)]


def test_equal_texts_are_one_bundle() -> None:
    assert bundles(rows(("a", None), ("b", None), (" A", None))) == [0, 1, 0]


def test_clusters_and_groups_link_too() -> None:
    examples = rows(("a", "1"), ("b", "2"), ("c", "1"), ("d", " 2 "), ("e", "3"))
    assert bundles(examples, group_by="user") == [0, 1, 0, 1, 4]
    assert bundles(examples, clusters=[7, 7, 8, 9, 9]) == [0, 0, 2, 3, 3]


def test_pairs_with_a_text_in_common_are_one_bundle() -> None:
    """An anchor that is another row's positive links; a negative does not."""
    pairs = [("a", "b", "x"), ("c", "d", "x"), (" B", "e", "y"), ("f", "g", "a")]
    found = [dict(zip(("anchor", "positive", "negative"), pair, strict=True)) for pair in pairs]
    assert bundles([Example(row, Origin("f", i)) for i, row in enumerate(found)]) == [0, 1, 0, 3]
    scored = [{"first": "a", "second": "b", "score": 1.0}, {"first": "c", "second": "A", "score": 2.0}]
    assert bundles([Example(row, Origin("f", i)) for i, row in enumerate(scored)]) == [0, 0]


def test_questions_about_one_context_are_one_bundle() -> None:
    asked = [("who?", "Ann left."), ("when?", "Bob came."), ("what?", "ann left.")]
    found = [{"question": question, "context": context, "answers": []} for question, context in asked]
    assert bundles([Example(row, Origin("f", i)) for i, row in enumerate(found)]) == [0, 1, 0]


def test_chains_link_everything_they_touch() -> None:
    examples = rows(("a", "1"), ("b", "2"), ("B", "3"), ("c", "3"))
    assert bundles(examples, clusters=[0, 0, 1, 2], group_by="user") == [0, 0, 0, 0]


def test_rows_without_a_group_stand_alone() -> None:
    examples = [*rows(("a", None), ("b", ""), ("c", "  ")), Example({"text": "d"}, Origin("f", 9))]
    assert bundles(examples, group_by="user") == [0, 1, 2, 3]


def test_a_group_may_be_a_number() -> None:
    examples = [Example({"text": text}, Origin("f", i), {"user": 7}) for i, text in enumerate("ab")]
    assert bundles(examples, group_by="user") == [0, 0]


def test_the_bundles_are_those_of_brute_force() -> None:
    """Components found by spreading over the links until nothing changes."""
    generator = random.Random(3)
    for _ in range(100):
        count = generator.randint(1, 30)
        examples = rows(*((generator.choice("abcdefghij"), generator.choice("xyzuvw")) for _ in range(count)))
        clusters = [generator.randint(0, 20) for _ in range(count)]
        slow = list(range(count))
        for _ in range(count):
            for i in range(count):
                for j in range(count):
                    same_text = examples[i].row == examples[j].row
                    same_group = examples[i].extra == examples[j].extra
                    if same_text or same_group or clusters[i] == clusters[j]:
                        slow[i] = slow[j] = min(slow[i], slow[j])
        assert bundles(examples, clusters=clusters, group_by="user") == slow
