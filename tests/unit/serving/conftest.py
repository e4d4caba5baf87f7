"""Tuned classifiers in their folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.method.build import METHODS
from burnish.model.find import find_base
from burnish.model.load import load_encoder
from burnish.model.options import ModelOptions
from burnish.model.pooled import SCALE, LinearHead, PooledClassifier
from burnish.serving.package import save_package

LABELS = ("cancel", "refund", "upgrade")


@pytest.fixture(scope="session")
def tuned(sentence_base: Path) -> Callable[..., PooledClassifier]:
    """Saves a classifier whose learned weights were moved at random, and gives it as it was in memory."""

    def make(
        final: Path,
        *,
        method: str = "full",
        folder: str | Path | None = None,
        runs: Path = Path("absent"),
        head: Any = None,
        max_length: int | None = None,
        seed: int = 3,
    ) -> PooledClassifier:
        options = ModelOptions(base=str(folder or sentence_base), max_length=max_length)
        base = find_base(options, recipe_folder=Path(), runs=runs)
        torch.manual_seed(seed)
        head = head or LinearHead(base.width, len(LABELS), scale=SCALE if base.normalize else 1.0)
        model: Any = PooledClassifier(load_encoder(base), head, pooling=base.pooling, normalize=base.normalize)
        chosen = METHODS[method]()
        model = chosen.attach(model)
        with torch.no_grad():
            for weight in chosen.trainable(model).values():
                weight.add_(0.1 * torch.randn(weight.shape))
        described = {"task": "text-classification", "method": method, "labels": LABELS, "max_length": base.max_length}
        save_package(final, model, base=base, described=described)
        return model.eval()

    return make
