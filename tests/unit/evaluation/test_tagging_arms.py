"""What tags tokens without fine-tuning."""

from __future__ import annotations

import numpy as np

from burnish.evaluation.metrics.tagging import EntityF1
from burnish.evaluation.tagging_arms import dictionary, majority_tag, token_probe

TRAIN = [["Ann", "sees", "Rome"], ["ann", "left"], ["Rome", "fell"]]
TAGS = [("B-per", "O", "B-loc"), ("B-per", "O"), ("B-loc", "O")]


def test_a_dictionary_knows_what_it_has_seen_in_any_case() -> None:
    arm = dictionary(TRAIN, TAGS, [["ANN", "met", "Bob"]], [["rome"]])
    assert arm.validation_predictions == [("B-per", "O", "O")]
    assert arm.test_predictions == [("B-loc",)]
    assert arm.settings == {"tokens": 5, "otherwise": "O"}


def test_the_majority_finds_nothing() -> None:
    assert majority_tag(TAGS, [["a", "b"]], [["c"]]).validation_predictions == [("O", "O")]


def test_a_probe_reads_the_vectors_of_tokens() -> None:
    """Vectors that give the tag away are read off; sentences keep their lengths."""
    vector = {"O": [1.0, 0.0, 0.0], "B-per": [0.0, 1.0, 0.0], "B-loc": [0.0, 0.0, 1.0]}
    features = np.array([vector[tag] for tags in TAGS for tag in tags])
    arm = token_probe([features] * 3, [TAGS] * 3, EntityF1(), seed=0)
    assert list(arm.test_predictions) == list(arm.validation_predictions) == TAGS
    assert arm.settings["tokens"] == 7
