"""The evaluation section of a recipe: its defaults, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from burnish.evaluation.options import EvaluationOptions


def test_the_defaults_are_the_written_ones() -> None:
    options = EvaluationOptions()
    assert options.model_dump() == {
        "metric": None,
        "goals": (),
        "minimum_effect": 0.01,
        "forgetting": {"probes": None, "tolerance": 0.2},
        "resamples": 2000,
        "max_prompts": 200,
        "groups": (),
        "min_accuracy": None,
        "robustness_rows": 125,
        "memorisation_rows": 0,
        "canaries": None,
        "moderator": None,
        "moderator_labels": (),
        "max_gap": None,
    }
    assert options.confidence == 0.95


@pytest.mark.parametrize(
    "refused",
    [
        {"minimum_effect": 0},
        {"minimum_effect": -0.01},
        {"resamples": 99},
        {"confidence": 0.9},
        {"forgetting": {"tolerance": 0}},
        {"max_gap": 0},
    ],
)
def test_a_verdict_cannot_be_made_easier(refused: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(refused))):
        EvaluationOptions.model_validate(refused)
