"""The public fields of a recipe, pinned: a new one is a decision, not an accident."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from burnish.data.options import CleanOptions
from burnish.recipe.schema import Recipe, json_schema, json_schema_text

FIELDS = {
    "task": None,
    "model": {
        *("base", "revision", "use", "license", "max_length", "max_target_length", "initialization", "chat_template"),
    },
    "data": {
        *("train", "validation", "test", "columns", "format", "header", "encoding", "label_map"),
        *("merge_label_variants", "deduplicate", "validation_ratio", "test_ratio", "max_bad_ratio", "max_row_bytes"),
        "long_conversations",
        *("near_duplicates", "group_by", "time_column", "keep_columns", "clean", "balance", "noisy_copies"),
    },
    "table": {"predict", "positive", "numeric", "categorical", "dates", "drop"},
    "method": None,
    "preference": {"loss", "beta", "label_smoothing", "margin", "desirable_weight", "undesirable_weight"},
    "embedding": {"scale", "symmetric", "dimensions"},
    "training": {
        *(
            "epochs",
            "max_steps",
            "learning_rate",
            "global_batch_size",
            "micro_batch_tokens",
            "seed",
            "optimizer",
            "schedule",
        ),
        *("warmup_ratio", "weight_decay", "layer_decay", "max_grad_norm", "average_decay", "dropout"),
        *("label_smoothing", "precision", "keep_frozen_states", "frozen_products", "patience"),
        *("evaluate_every_steps", "log_every_steps"),
        *("processes", "threads", "keep_ability", "max_seconds", "price_per_hour", "max_cost"),
    },
    "augmentation": {"flip", "shift", "light"},
    "checkpoint": {"every_steps", "keep", "choose"},
    "evaluation": {
        *("metric", "goals", "minimum_effect", "resamples", "max_prompts", "forgetting"),
        *("groups", "max_gap", "min_accuracy", "robustness_rows"),
        *("memorisation_rows", "canaries", "moderator", "moderator_labels"),
    },
    "monitoring": {"reference_rows", "alpha", "quality_fall"},
    "tracking": {"tensorboard", "wandb", "mlflow"},
    "export": {"to", "rows"},
}


def test_the_fields_are_those_that_were_decided_on() -> None:
    assert list(Recipe.model_fields) == list(FIELDS)
    for section, fields in FIELDS.items():
        if fields is not None:
            model: Any = Recipe.model_fields[section].annotation
            assert set(model.model_fields) == fields, section


def test_the_repairs_are_those_that_were_decided_on() -> None:
    fields = {"relabel", "redact", "near_duplicates", "max_characters", "long_rows", "length_outliers"}
    assert set(CleanOptions.model_fields) == fields


def test_every_field_can_be_found_in_the_schema_with_its_default() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["TrainingOptions"]["properties"]["seed"]["default"] == 13
    assert all(definition.get("additionalProperties") is False for definition in definitions.values())


def test_the_shipped_schema_is_up_to_date() -> None:
    shipped = files("burnish.recipe").joinpath("recipe.schema.json").read_text(encoding="utf-8")
    assert shipped == json_schema_text(), (
        "write it anew: python -c 'from burnish.recipe.schema import json_schema_text as t; print(t(), end=\"\")'"
        " > burnish/recipe/recipe.schema.json"
    )


def test_the_schema_is_json() -> None:
    assert json.loads(json_schema_text())["title"] == "burnish recipe"


@pytest.mark.parametrize("section", [name for name, fields in FIELDS.items() if fields is not None])
def test_options_do_not_change_after_reading(section: str) -> None:
    recipe = Recipe.model_validate({"data": {"train": "a"}})
    field = sorted(FIELDS[section] or ())[0]
    with pytest.raises(ValueError, match="frozen"):
        setattr(getattr(recipe, section), field, None)
