"""Images are made ready as transformers' own processors do it, and read as its own classifiers read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from burnish.engine.images import image_layout
from burnish.model.find import find_base
from burnish.model.images import FAMILIES, read_preprocessing
from burnish.model.load import load_encoder
from burnish.model.options import ModelOptions
from burnish.model.pooled import LinearHead, PooledClassifier
from burnish.types import Encoded

MakeBase = Callable[..., Path]
PROCESSORS: dict[str, dict[str, Any]] = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 48, "width": 40}},
    "vit, old": {"feature_extractor_type": "ViTFeatureExtractor", "size": 48},
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 48}, "crop_pct": 0.9},
    "convnext, large": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    "mobilenet": {"image_processor_type": "MobileNetV1ImageProcessor", "size": {"shortest_edge": 60}},
    "mobilenet, small crop": {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "size": {"shortest_edge": 51},
        "crop_size": {"height": 47, "width": 60},
    },
    "no scale": {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "do_rescale": False},
}
SHAPES = ((50, 70), (70, 50), (33, 33), (20, 90))


def noise(shape: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_transformers(make_image_base: MakeBase, name: str) -> None:
    folder = make_image_base()
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[name]))
    ours, theirs = read_preprocessing(folder), AutoImageProcessor.from_pretrained(folder)
    for shape in SHAPES:
        image = noise(shape)
        wanted = theirs(image, return_tensors="pt")["pixel_values"]
        fitted = torch.from_numpy(ours.fitted(image)).permute(2, 0, 1)[None].float()
        found = ours.normalized(fitted)
        assert found.shape == wanted.shape
        assert torch.allclose(found, wanted.float(), atol=1e-4)  # float32 and float64 until the last step


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_familys_own_classifier(make_image_base: MakeBase, family: str) -> None:
    folder = make_image_base(family)
    base = find_base(ModelOptions(base=str(folder)), recipe_folder=Path(), runs=Path("absent"))
    whole: Any = AutoModelForImageClassification.from_pretrained(folder).eval()
    linear = [part for part in whole.classifier.modules() if isinstance(part, torch.nn.Linear)][-1]
    head = LinearHead(base.width, 2, scale=1.0)
    head.set_(linear.weight.detach(), linear.bias.detach())
    ours = PooledClassifier(load_encoder(base), head, pooling=base.pooling, normalize=base.normalize).eval()
    preprocessing = read_preprocessing(folder)
    rows = [
        Encoded(np.zeros(0, np.int64), (4,), np.array(0), pixels=preprocessing.fitted(noise((40, 30), seed)))
        for seed in range(3)
    ]
    batch = image_layout(preprocessing).lay_out(rows, range(3), device=torch.device("cpu"))
    with torch.no_grad():
        assert torch.allclose(ours(batch), whole(pixel_values=batch.pixels).logits, atol=1e-5)


@pytest.mark.real_data
def test_the_real_base_gives_its_own_probabilities(shared_data: Path) -> None:
    folder = shared_data.parent / "models" / "mobilenetv1-025-96-vww"
    if not folder.is_dir():
        pytest.skip(f"the model is not at {folder}")
    preprocessing = read_preprocessing(folder)
    assert (preprocessing.size, preprocessing.mean) == ((96, 96), (0.0, 0.0, 0.0))
    image = noise((120, 100))
    wanted = AutoImageProcessor.from_pretrained(folder)(image, return_tensors="pt")["pixel_values"]
    found = preprocessing.normalized(torch.from_numpy(preprocessing.fitted(image)).permute(2, 0, 1)[None].float())
    assert torch.allclose(found, wanted, atol=1e-6)
