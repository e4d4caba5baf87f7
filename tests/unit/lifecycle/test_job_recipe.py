"""What of a request becomes a recipe, and what is refused, with the field it is in."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import ServiceError
from burnish.lifecycle.job_recipe import JobRequest, check_request, recipe_tree
from burnish.lifecycle.trainer_process import clean_environment

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no such method": ({"method": "sft"}, "method.type", "supervised"),
    "reinforcement": ({"method": "reinforcement"}, "method.type", "not offered"),
    "no suffix": ({"suffix": ""}, "suffix", "1 to 64"),
    "long suffix": ({"suffix": "x" * 65}, "suffix", "1 to 64"),
    "path as suffix": ({"suffix": "../x"}, "suffix", "1 to 64"),
    "negative seed": ({"seed": -1}, "seed", "2147483647"),
    "17 pairs": ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "16"),
    "long value": ({"metadata": {"a": "x" * 513}}, "metadata", "512"),
    "integrations": ({"integrations": [{"type": "wandb"}]}, "integrations", "not offered"),
    "no epochs": ({"hyperparameters": {"n_epochs": 0}}, "method.supervised.hyperparameters.n_epochs", "1 to 50"),
    "51 epochs": ({"hyperparameters": {"n_epochs": 51}}, "method.supervised.hyperparameters.n_epochs", "1 to 50"),
    "true epochs": ({"hyperparameters": {"n_epochs": True}}, "method.supervised.hyperparameters.n_epochs", "1 to 50"),
    "large batch": ({"hyperparameters": {"batch_size": 257}}, "method.supervised.hyperparameters.batch_size", "256"),
    "zero rate": (
        {"hyperparameters": {"learning_rate_multiplier": 0}},
        "method.supervised.hyperparameters.learning_rate_multiplier",
        "above 0",
    ),
    "beta of no dpo": ({"hyperparameters": {"beta": 0.1}}, "method.supervised.hyperparameters.beta", "Unknown"),
    "large beta": ({"method": "dpo", "hyperparameters": {"beta": 2.1}}, "method.dpo.hyperparameters.beta", "at most 2"),
    "mistyped": ({"hyperparameters": {"n_epoch": 3}}, "method.supervised.hyperparameters.n_epoch", "'n_epochs'"),
    "unknown task": ({"burnish": {"task": "chatt"}}, "burnish.task", "'chat'"),
    "unknown key": ({"burnish": {"colums": {}}}, "burnish.colums", "'columns'"),
    "unknown option": ({"burnish": {"training": {"patienc": 2}}}, "burnish", "patience"),
    "wrong value": ({"hyperparameters": {"weight_decay": -1}}, "burnish", "weight_decay"),
    "a path": ({"burnish": {"data": {"train": "/etc/passwd"}}}, "burnish.data.train", "cannot be set"),
    "a hidden path": ({"burnish": {"data": {"clean": {"relabel": "/x"}}}}, "burnish.data.clean.relabel", "cannot"),
    "an address": ({"burnish": {"evaluation": {"moderator": "http://x"}}}, "burnish.evaluation.moderator", "cannot"),
    "kept rows": (
        {"burnish": {"training": {"keep_ability": {"rows": "/x"}}}},
        "burnish.training.keep_ability.rows",
        "",
    ),
    "another base": ({"burnish": {"model": {"base": "/x"}}}, "burnish.model.base", "cannot be set"),
    "tracking": ({"burnish": {"tracking": {"mlflow": "http://x"}}}, "burnish.tracking", "Unknown"),
    "an export": ({"burnish": {"export": {"to": ["onnx"]}}}, "burnish.export", "Unknown"),
    "no object": ({"burnish": {"data": "x"}}, "burnish.data", "object"),
    "no slot": ({"burnish": {"resources": {"slot": "tpu"}}}, "burnish.resources", "gpu"),
    "priority": ({"burnish": {"priority": "high"}}, "burnish.priority", "-100"),
    "no loss": ({"method": "dpo", "burnish": {"loss": "ppo"}}, "burnish.loss", "orpo"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_is_refused_with_its_field(name: str) -> None:
    changes, param, says = REFUSED[name]
    with pytest.raises(ServiceError) as refusal:
        check_request(JobRequest(model="tiny", training_file="file-1", **changes))
    assert (refusal.value.status, refusal.value.param) == (400, param)
    assert says in refusal.value.message


def test_a_request_becomes_a_recipe() -> None:
    asked = JobRequest(
        model="tiny",
        training_file="file-1",
        method="dpo",
        hyperparameters={"n_epochs": "auto", "batch_size": 4, "beta": 0.3, "weight_decay": 0.05},
        burnish={
            "loss": "dpo",
            "peft": {"type": "lora", "r": 8, "lora_alpha": 16, "target_modules": "auto"},
            "early_stopping": {"patience": 2},
        },
    )
    check_request(asked)
    tree = recipe_tree(asked, rows=200, seed=5, filename="pairs.jsonl")
    assert tree["task"] == "preference"
    assert tree["preference"] == {"loss": "dpo", "beta": 0.3}
    assert tree["method"] == {"name": "lora", "rank": 8, "alpha": 16}
    assert tree["data"] == {"max_bad_ratio": 0.0, "columns": {}, "format": "jsonl"}
    training = {"seed": 5, "epochs": 3, "global_batch_size": 4, "patience": 2, "weight_decay": 0.05}
    assert tree["training"] == {**training, "log_every_steps": 1}


def test_other_tasks_than_writing_leave_their_numbers_to_burnish() -> None:
    asked = JobRequest(model="tiny", training_file="file-1", burnish={"task": "text-classification"})
    tree = recipe_tree(asked, rows=200, seed=5, filename="rows.csv")
    assert set(tree["training"]) == {"seed", "log_every_steps"}
    assert tree["data"]["format"] == "csv"


def test_a_trainer_knows_no_secret(tmp_path: Any) -> None:
    secrets = ("BURNISH_DATABASE_URL", "BURNISH_STORAGE_URL", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "HF_TOKEN")
    given = {**dict.fromkeys(secrets, "marker"), "PATH": "/bin", "OMP_NUM_THREADS": "1", "BURNISH_HOME": "/real"}
    kept = clean_environment(given, tmp_path, slot="cpu")
    assert "marker" not in kept.values()
    assert (kept["PATH"], kept["OMP_NUM_THREADS"], kept["BURNISH_HOME"]) == ("/bin", "1", str(tmp_path))
