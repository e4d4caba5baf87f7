"""The arms learn what can be learnt, choose on validation and never need a test label."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation import arms
from burnish.evaluation.arms import ArmResult, base_centroid, base_probe, majority, strongest, tf_idf, unit_rows
from burnish.evaluation.metrics.classification import Accuracy

TEXTS = {
    "card": ["my card is lost", "the card was stolen", "card not working", "a new card please", "card blocked again"],
    "cash": [
        "cash was not dispensed",
        "the cash machine",
        "no cash came out",
        "cash withdrawal fee",
        "wrong cash amount",
    ],
}
TRAIN = [(text, label) for label, texts in TEXTS.items() for text in texts]
TRAIN_TEXTS, TRAIN_LABELS = [text for text, _ in TRAIN], [label for _, label in TRAIN]


def points(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """(n, 3) features of two classes whose difference is a direction, with a length that says nothing."""
    random = np.random.default_rng(seed)
    classes = np.arange(n) % 2
    features = random.normal(size=(n, 3)) * 0.3 + np.where(classes[:, None] == 1, [1.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    return features * random.uniform(0.1, 10, size=(n, 1)), [("cash", "card")[c] for c in classes]


def test_majority_is_the_most_frequent_and_the_first_of_equals() -> None:
    arm = majority(["b", "a", "b", "a", "c"], 2, 3)
    assert (arm.name, arm.validation_predictions, arm.test_predictions) == ("majority", ["a"] * 2, ["a"] * 3)
    assert arm.settings == {"label": "a", "train_rows": 2}


def test_tf_idf_reads_words_and_says_what_it_chose() -> None:
    arm = tf_idf(TRAIN_TEXTS, TRAIN_LABELS, ["card?", "cash!"], ["card", "cash"], ["lost card", "cash"], Accuracy())
    assert arm.name == "tf-idf"
    assert (arm.validation_predictions, arm.test_predictions) == (["card", "cash"], ["card", "cash"])
    assert arm.settings["features"] == "words"  # of equally good settings the first, which is the simplest
    assert arm.settings["C"] == 0.3
    assert arm.settings["characters_tried"] is True
    assert arm.seconds > 0


def test_tf_idf_takes_characters_where_words_are_all_new() -> None:
    arm = tf_idf(TRAIN_TEXTS, TRAIN_LABELS, ["cards", "cashless"], ["card", "cash"], ["cardless"], Accuracy())
    assert arm.settings["features"] == "words+characters"
    assert arm.test_predictions == ["card"]


def test_tf_idf_beyond_its_budget_uses_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "CHARACTER_BUDGET", 100)
    arm = tf_idf(TRAIN_TEXTS, TRAIN_LABELS, ["cards"], ["card"], ["cash"], Accuracy())
    assert arm.settings["features"] == "words"
    assert arm.settings["characters_tried"] is False


def test_tf_idf_reads_signs_and_scripts_without_spaces() -> None:
    arm = tf_idf(["!!", "??", "我的卡", "现金"], ["x", "y", "x", "y"], ["!!"], ["x"], ["??", "现金"], Accuracy())
    assert arm.test_predictions == ["y", "y"]


def test_centroid_goes_by_direction_and_not_by_length() -> None:
    (train, train_labels), (test, test_labels) = points(40, 0), points(40, 1)
    arm = base_centroid(train, train_labels, test[:10], test)
    assert arm.validation_predictions == arm.test_predictions[:10]
    assert np.mean(np.array(arm.test_predictions) == test_labels) >= 0.9


def test_probe_learns_and_is_repeatable() -> None:
    (train, train_labels), (val, val_labels), (test, test_labels) = points(60, 0), points(30, 1), points(60, 2)
    arm, again = (base_probe(train, train_labels, val, val_labels, test, Accuracy(), 13) for _ in range(2))
    assert np.mean(np.array(arm.test_predictions) == test_labels) >= 0.9
    assert (arm.test_predictions, arm.settings) == (again.test_predictions, again.settings)
    assert arm.settings["l2"] > 0
    assert arm.settings["seed"] == 13


def test_probe_survives_a_validation_label_that_training_lacks() -> None:
    train, train_labels = points(20, 0)
    arm = base_probe(train, train_labels, train[:2], ["card", "unseen"], train, Accuracy())
    assert set(arm.test_predictions) <= {"card", "cash"}


def test_strongest_is_chosen_on_validation_and_the_first_of_equals() -> None:
    weak = ArmResult("weak", ["a", "a"], ["a"])
    first, second = ArmResult("first", ["a", "b"], ["b"]), ArmResult("second", ["a", "b"], ["a"])
    assert strongest([weak, first, second], Accuracy(), ["a", "b"]).name == "first"


def test_unit_rows_keep_zero() -> None:
    assert unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]
