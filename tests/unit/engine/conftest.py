"""Trainings of a tiny model on rows whose class can be read off their tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from burnish.engine.layout import LayoutChoice
from burnish.engine.loop import Training
from burnish.engine.options import CheckpointOptions, TrainingOptions
from burnish.engine.precision import Precision
from burnish.engine.predict import loss_and_predictions, predict_rows
from burnish.method.full import Full
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

PADDED = LayoutChoice(True, 0, "")
PLACE: dict[str, Any] = {"layout": PADDED, "precision": Precision("fp32", ""), "device": torch.device("cpu")}


@pytest.fixture(scope="session")
def make_training(make_classifier: Callable[..., Any], make_rows: Callable[..., Any]) -> Callable[..., Training]:
    """A training in a folder: 44 rows in two classes, 3 epochs of 6 steps; everything new at every call."""

    def make(
        folder: Path,
        *,
        lengths: list[int] | None = None,
        method: Any = None,
        validate: Callable[..., dict[str, float]] | None = None,
        layout: LayoutChoice | Callable[..., LayoutChoice] = PADDED,
        progress: Any = None,
        checkpoint: dict[str, Any] | None = None,
        loss: Any = None,
        head: Any = None,
        kept_rows: Any = (),
        limit: Any = None,
        precision: Any = "fp32",
        **options: Any,
    ) -> Training:
        chosen = {"epochs": 3, "learning_rate": 3e-3, "global_batch_size": 8, "log_every_steps": 1, **options}
        task, model = make_classifier(loss=loss, head=head)
        rows = make_rows(lengths or np.random.default_rng(5).integers(3, 12, size=44).tolist())
        held_out = make_rows([6] * 20, seed=1)
        method = method or Full()
        place = PLACE | {"layout": layout(model.encoder, rows) if callable(layout) else layout}
        place["precision"] = Precision(precision, "")

        def judge(model: Any) -> dict[str, float]:
            predictions = predict_rows(task, model, held_out, **place)
            right = [p["label"] == task.labels[int(row.targets)] for p, row in zip(predictions, held_out, strict=True)]
            return {"loss": loss_and_predictions(task, model, held_out, **place)[0], "accuracy": float(np.mean(right))}

        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        return Training(
            task=task,
            method=method,
            model=method.attach(model),
            rows=rows,
            validate=validate or judge,
            metric="accuracy",
            higher_is_better=True,
            options=TrainingOptions(**chosen),
            checkpoint=CheckpointOptions(**(checkpoint or {})),
            folder=RunFolder(folder),
            progress=progress or Silent(),
            kept_rows=kept_rows,
            limit=limit,
            **place,
        )

    return make


SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 80,
    "initializer_range": 0.3,  # wide enough for attention to matter
}


def random_encoder(family: str, **changes: Any) -> Any:
    """A random encoder of a family, in evaluation mode."""
    import transformers as t

    sizes = SIZES
    if family == "distilbert":
        changes = {"n_layers": 2, "n_heads": 4, "dim": 16, "hidden_dim": 32, **changes}
        sizes = {"vocab_size": 99, "max_position_embeddings": 80, "initializer_range": 0.3}
    if family == "t5":
        changes = {"num_layers": 2, "num_heads": 4, "d_model": 16, "d_kv": 4, "d_ff": 32, **changes}
        sizes = {"vocab_size": 99}
    if family == "minilm":  # BERT's code, with more and narrower layers
        changes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 6, **changes}
    if family in ("llama", "mistral", "mixtral", "qwen"):
        changes = {"num_key_value_heads": 2, **changes}
    if family == "mistral":
        changes = {"sliding_window": 4, **changes}
    if family == "qwen":
        changes = {"head_dim": 8, **changes}
    if family == "mixtral":
        changes = {"num_local_experts": 4, "num_experts_per_tok": 2, **changes}
    if family == "modernbert":
        changes = {"local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0, **changes}
    families: dict[str, tuple[Any, Any]] = {
        "bert": (t.BertConfig, t.BertModel),
        "minilm": (t.BertConfig, t.BertModel),
        "roberta": (t.RobertaConfig, t.RobertaModel),
        "distilbert": (t.DistilBertConfig, t.DistilBertModel),
        "modernbert": (t.ModernBertConfig, t.ModernBertModel),
        "llama": (t.LlamaConfig, t.LlamaModel),
        "qwen": (t.Qwen3Config, t.Qwen3Model),
        "mistral": (t.MistralConfig, t.MistralModel),
        "mixtral": (t.MixtralConfig, t.MixtralModel),
        "t5": (t.T5Config, t.T5EncoderModel),
        "mpnet": (t.MPNetConfig, t.MPNetModel),
    }
    config, model = families[family]
    torch.manual_seed(0)
    return model(config(**{**sizes, **changes})).eval()


@pytest.fixture
def encoder() -> Callable[..., Any]:
    """encoder(family, **config) builds a random encoder of a family, in evaluation mode."""
    return random_encoder
