"""Image classification: pixels of the base's size, refusals with a reason, labels of logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from burnish.data.images import read_image
from burnish.model.images import Preprocessing
from burnish.task.build import TASKS, TRAINED_ON
from burnish.task.image_classification import ImageClassification
from burnish.types import Encoded, Refusal, Task

SMALL = Preprocessing(resize=(33, 16), crop=None, resample=2, scale=1.0, mean=(0.0,) * 3, deviation=(1.0,) * 3)


@pytest.fixture(scope="module")
def task() -> ImageClassification:
    return ImageClassification(SMALL, ("blue", "green", "red"), label_smoothing=0.3, class_weights={"red": 3.0})


@pytest.fixture(scope="module")
def path(image_folder: Path) -> Path:
    return sorted((image_folder / "red").iterdir())[0]


def test_it_is_registered_under_its_name(task: ImageClassification) -> None:
    assert TASKS[task.name] is ImageClassification
    assert isinstance(task, Task)
    assert TRAINED_ON[task.name] == ("image-classification",)


def test_an_image_becomes_pixels_and_costs_its_patches(task: ImageClassification, path: Path) -> None:
    encoded = task.encode({"image": str(path), "label": "red"})
    assert isinstance(encoded, Encoded)
    assert encoded.pixels is not None
    assert (encoded.pixels.shape, encoded.pixels.dtype, encoded.length) == ((33, 16, 3), np.uint8, 3)
    assert (int(encoded.targets), encoded.weight) == (2, 1.0)


def test_a_row_without_a_label_is_only_predicted(task: ImageClassification, path: Path) -> None:
    encoded = task.encode(task.asked(str(path)))
    assert isinstance(encoded, Encoded)
    assert int(encoded.targets) == -1


def test_what_cannot_be_learned_is_refused(task: ImageClassification, path: Path, tmp_path: Path) -> None:
    def refused(**row: Any) -> Refusal:
        result = task.encode({"image": str(path), "label": "red", **row})
        assert isinstance(result, Refusal)
        return result

    assert refused(label="rde") == Refusal("data/unknown-label", '"rde" is no label of this model, did you mean "red"?')
    assert refused(image=str(tmp_path / "absent.png")).code == "data/missing-image"
    (tmp_path / "broken.png").write_bytes(b"x")
    assert refused(image=str(tmp_path / "broken.png")).code == "data/bad-image"
    assert refused(sha256="0" * 64).reason == "the file is not the one that was read before"
    assert isinstance(task.encode({"image": str(path), "sha256": read_image(path).sha256}), Encoded)


def test_losses_are_smoothed_and_weighted_only_in_training(task: ImageClassification) -> None:
    class Given(nn.Module):
        def forward(self, _: Any) -> torch.Tensor:
            return torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]])

    class Batch:
        targets = torch.tensor([2, 0])
        row_count = 2

    model, batch = Given(), Batch()
    log_B = torch.log_softmax(model(None), dim=1)
    plain = task.loss(model.eval(), batch)  # type: ignore[arg-type]
    assert plain.weight == 2
    assert float(plain.total) == pytest.approx(float(-log_B[0, 2] - log_B[1, 0]))
    smoothed = [-(0.7 * log_B[i, k] + 0.3 * log_B[i].mean()) for i, k in ((0, 2), (1, 0))]
    trained = task.loss(model.train(), batch)  # type: ignore[arg-type]
    assert float(trained.total) == pytest.approx(float(3 * smoothed[0] + smoothed[1]), rel=1e-5)
    said = task.predict(model, batch)  # type: ignore[arg-type]
    assert [row["label"] for row in said] == ["red", "blue"]
    assert said[0]["margin"] == pytest.approx(2.0)


def test_a_package_describes_and_rebuilds_it(task: ImageClassification, make_subject: Callable[[str], Any]) -> None:
    again = ImageClassification.rebuilt(SMALL, task.describe())
    assert again.labels == task.labels
    assert task.shown({"image": "a.png"}, {"label": "red"}) == {"image": "a.png", "label": "red"}
    assert task.asked({"image": "a.png", "label": "red"}) == {"image": "a.png"}
