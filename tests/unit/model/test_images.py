"""Image models: sizes and scales as their settings say, vectors as their own classifiers read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from burnish.errors import ModelError
from burnish.model.find import find_base
from burnish.model.images import FAMILIES, read_preprocessing, vector_width
from burnish.model.load import load_encoder
from burnish.model.options import ModelOptions
from burnish.model.pooled import PooledEncoder

MakeBase = Callable[..., Path]


def settings_of(folder: Path, **changes: Any) -> Path:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def refusal(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_preprocessing(folder)
    return caught.value


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_found_with_the_width_of_its_vector(make_image_base: MakeBase, family: str) -> None:
    folder = make_image_base(family)
    base = find_base(ModelOptions(base=str(folder)), recipe_folder=Path(), runs=Path("absent"))
    assert (base.model_type, base.pooling, base.normalize) == (family, FAMILIES[family], False)
    assert base.width == vector_width(folder)
    output = load_encoder(base)(pixel_values=torch.zeros(2, 3, 32, 32))
    vector = output.last_hidden_state[:, 0] if base.pooling == "first" else output.pooler_output.flatten(1)
    assert vector.shape == (2, base.width)


@pytest.mark.parametrize("family", ["resnet", "mobilenet_v1", "mobilenet_v2"])
def test_batch_norms_keep_the_statistics_of_the_base(make_image_base: MakeBase, family: str) -> None:
    base = find_base(ModelOptions(base=str(make_image_base(family))), recipe_folder=Path(), runs=Path("absent"))
    encoder = PooledEncoder(load_encoder(base), pooling="own", normalize=False).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    images = torch.rand(3, 3, 32, 32)
    together = encoder.encoder(pixel_values=images).pooler_output
    alone = torch.cat([encoder.encoder(pixel_values=image[None]).pooler_output for image in images])
    assert torch.allclose(together, alone, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())


def test_settings_are_read_with_the_steps_they_ask_for(make_image_base: MakeBase) -> None:
    found = read_preprocessing(make_image_base())
    assert (found.resize, found.crop, found.size, found.resample) == ((32, 32), None, (32, 32), 2)
    assert found.scale == pytest.approx(1 / 255)
    assert (found.mean, found.deviation) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))


def test_steps_that_are_off_are_not_done(make_image_base: MakeBase) -> None:
    folder = settings_of(make_image_base(), do_rescale=False, do_normalize=False)
    found = read_preprocessing(folder)
    assert (found.scale, found.mean, found.deviation) == (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_a_shorter_side_and_a_crop_from_the_middle(make_image_base: MakeBase) -> None:
    folder = settings_of(
        make_image_base(), size={"shortest_edge": 40}, do_center_crop=True, crop_size={"height": 32, "width": 32}
    )
    found = read_preprocessing(folder)
    assert (found.resize, found.crop, found.size) == (40, (32, 32), (32, 32))
    stripes = Image.fromarray(np.tile(np.arange(80, dtype=np.uint8)[None, :, None], (40, 1, 3)))
    assert found.fitted(stripes)[0, :, 0].tolist() == list(range(24, 56))


def test_convnexts_own_way_to_cut() -> None:
    from burnish.model.images import _understood

    about = {"do_resize": True, "size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3}
    found = _understood(about, Path("x"))
    assert (found.resize, found.crop) == (256, (224, 224))
    whole = _understood({**about, "size": {"shortest_edge": 384}}, Path("x"))
    assert (whole.resize, whole.crop) == ((384, 384), None)


def test_without_settings_nothing_is_guessed(make_image_base: MakeBase) -> None:
    folder = make_image_base()
    (folder / "preprocessor_config.json").unlink()
    error = refusal(folder)
    assert (error.code, error.where) == ("model/no-preprocessing", str(folder))
    assert "beside the weights" in str(error.hint)


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"size": {"shortest_edge": 40}}, "differs from image to image"), ({"do_pad": True}, "do_pad")],
)
def test_settings_that_are_not_understood_are_refused(
    make_image_base: MakeBase, changes: dict[str, Any], what: str
) -> None:
    folder = settings_of(make_image_base(), **changes)
    error = refusal(folder)
    assert (error.code, error.where) == ("model/unknown-preprocessing", str(folder / "preprocessor_config.json"))
    assert what in error.message


@pytest.mark.parametrize("content", ["[]", "nonsense", '{"image_processor_type": "NoSuchProcessor"}'])
def test_settings_of_another_form_are_refused(make_image_base: MakeBase, content: str) -> None:
    folder = make_image_base()
    (folder / "preprocessor_config.json").write_text(content)
    assert refusal(folder).code in ("model/bad-file", "model/unknown-preprocessing")
