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
from burnish.engine.predict import mean_loss, predict_rows
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
        **options: Any,
    ) -> Training:
        chosen = {"epochs": 3, "learning_rate": 3e-3, "global_batch_size": 8, "log_every_steps": 1, **options}
        task, model = make_classifier(loss=loss, head=head)
        rows = make_rows(lengths or np.random.default_rng(5).integers(3, 12, size=44).tolist())
        held_out = make_rows([6] * 20, seed=1)
        method = method or Full()
        place = PLACE | {"layout": layout(model.encoder, rows) if callable(layout) else layout}

        def judge(model: Any) -> dict[str, float]:
            predictions = predict_rows(task, model, held_out, **place)
            right = [p["label"] == task.labels[int(row.targets)] for p, row in zip(predictions, held_out, strict=True)]
            return {"loss": mean_loss(task, model, held_out, **place), "accuracy": float(np.mean(right))}

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
            **place,
        )

    return make
