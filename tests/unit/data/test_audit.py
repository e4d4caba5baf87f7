"""The audit's queue, scores and sums: what is drawn, what is suspected, and what many answers come to."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from burnish.data.audit import Answer, Sampled, audit_queue, cohen_kappa, label_scores, settle
from burnish.types import Example, Origin

WORDS = {"card": ["card", "lost", "stolen", "plastic"], "cash": ["cash", "money", "coins", "notes"]}
FILLERS = ["where", "is", "my", "the", "please", "I", "and", "a", "today", "now", "with", "you"]


def rows(count: int = 300, wrong: int = 15) -> list[Example]:
    """Sentences whose words give the label away; the first `wrong` have the other one."""
    generator = random.Random(1)
    examples = []
    for index in range(count):
        label = ("card", "cash")[index % 2]
        words = [*generator.choices(FILLERS, k=8), *generator.choices(WORDS[label], k=2)]
        shown = ("cash", "card")[index % 2] if index < wrong else label
        examples.append(Example({"text": " ".join(generator.sample(words, 10)), "label": shown}, Origin("f", index)))
    return examples


LABELS = ("card", "cash")


def test_wrong_labels_score_low_and_are_suspected() -> None:
    examples = rows()
    scores = label_scores(examples, LABELS, seed=13)
    assert scores.shape == (300, 2)
    queue = audit_queue(examples, LABELS, scores, seed=13)
    seen = {item.example.origin.line for item in queue}
    assert sum(line < 15 for line in seen) >= 14
    assert Counter(item.sampled for item in queue)["random"] == 50
    assert len(queue) <= 50 + 30
    assert len({item.key for item in queue}) == len(queue)
    assert all(item.suggestions == tuple(x for x in LABELS if x != item.example.row["label"]) for item in queue)


def test_the_queue_is_the_same_for_everybody_and_any_order() -> None:
    examples = rows()
    orders = (examples, random.Random(2).sample(examples, 300))
    queues = [[item.key for item in audit_queue(order, LABELS, np.zeros((300, 2)), seed=13)] for order in orders]
    assert queues[0] == queues[1]
    assert queues[0] != [item.key for item in audit_queue(examples, LABELS, np.zeros((300, 2)), seed=14)]


def test_the_random_part_has_every_labels_share() -> None:
    examples = [
        Example({"text": f"t{i}", "label": "rare" if i % 20 == 0 else "usual"}, Origin("f", i)) for i in range(2000)
    ]
    queue = audit_queue(examples, ("rare", "usual"), np.zeros((2000, 2)), seed=3)
    assert Counter(item.example.row["label"] for item in queue) == {"rare": 10, "usual": 190}


def test_every_row_is_as_likely_to_be_drawn() -> None:
    examples = [Example({"text": f"t{i}", "label": "ab"[i % 2]}, Origin("f", i)) for i in range(200)]
    drawn: Counter[int] = Counter()
    for seed in range(400):
        drawn.update(item.example.origin.line for item in audit_queue(examples, ("a", "b"), np.zeros((200, 2)), seed))
    assert sum(drawn.values()) == 400 * 50
    assert min(drawn.values()) > 60  # 100 expected, standard deviation 8.7
    assert max(drawn.values()) < 140


def test_a_few_rows_are_all_looked_at() -> None:
    examples = rows(20, 0)
    assert len(audit_queue(examples, LABELS, label_scores(examples, LABELS, 1), 1)) == 20


def test_a_label_of_one_row_is_suspicious_and_breaks_nothing() -> None:
    examples = [*rows(100, 0), Example({"text": "something else", "label": "odd"}, Origin("f", 999))]
    labels = ("card", "cash", "odd")
    scores = label_scores(examples, labels, seed=13)
    assert scores[-1].argmin() == 2


def answer(key: str, who: str, label: str | None, *, kind: Sampled = "random", unsure: bool = False) -> Answer:
    return Answer(key, who, kind, "a", label, unsure)


def test_the_majority_of_the_last_words_counts() -> None:
    found = settle(
        [
            answer("1", "ann", "b"),
            answer("1", "ann", "a"),  # thought again
            answer("2", "ann", "b"),
            answer("2", "bob", "b"),
            answer("2", "cyd", "a"),
            answer("3", "ann", "b"),
            answer("3", "bob", "a"),
            answer("4", "ann", None, kind="suspicious"),
            answer("5", "ann", None, unsure=True),
        ]
    )
    assert found.answered == 4
    assert found.wrong == {"random": (1, 2), "suspicious": (1, 1)}
    assert found.corrections == {"2": "b", "4": None}
    assert found.disputed == ["3"]
    assert [(one, other, n) for one, other, n, _ in found.agreement] == [
        ("ann", "bob", 2),
        ("ann", "cyd", 1),
        ("bob", "cyd", 1),
    ]


def test_no_answers() -> None:
    found = settle([])
    assert (found.answered, found.corrections, found.agreement) == (0, {}, [])


def test_kappa_is_that_of_scikit_learn() -> None:
    generator = random.Random(5)
    for _ in range(20):
        pairs = [(generator.choice("abc"), generator.choice("abc")) for _ in range(30)]
        assert cohen_kappa(pairs) == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))
    assert cohen_kappa([("a", "a")] * 5) == 1.0
    assert cohen_kappa([("a", None), (None, "a")]) == -1.0
